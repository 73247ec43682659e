/** A client of the built daemon that is asked a question and never answers: asked-client.mjs SOCKET KEY_ID */
import { AgentClient } from '../../dist/client/agent-client.js';

const [socket, keyId] = process.argv.slice(2);
const agent = new AgentClient(socket);
const { id } = await agent.interact({
  question: () => {
    process.stdout.write('asked\n');
    return new Promise(() => undefined);
  },
});
await agent.sign({ key_id: keyId, message: Buffer.from('x') }, { interaction: id });
