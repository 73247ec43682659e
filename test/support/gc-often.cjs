// Preloaded into a daemon whose memory is measured: what is garbage is gone soon, so what remains is a leak.
require('node:v8').setFlagsFromString('--expose-gc');
const collect = require('node:vm').runInNewContext('gc');
setInterval(collect, 400).unref();
