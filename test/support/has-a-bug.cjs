// Preloaded into a daemon: something nobody foresaw fails, at its start or once the file that BUG names exists.
const { existsSync } = require('node:fs');

const bug = () => new TypeError('text that nobody knows');
const { BUG } = process.env;
const { cwd } = process;

if (BUG === 'at start') {
  process.cwd = () => {
    if (new Error().stack.includes('/dist/daemon/main.js')) throw bug();
    return cwd();
  };
} else {
  setInterval(() => {
    if (existsSync(BUG)) throw bug();
  }, 50).unref();
}
