import { expect, test } from 'vitest';
import { ApduChannel, type CommandApdu, parseCommandApdu } from '../../../support/virtual-yubikey/card/apdu.ts';
import { refuse } from '../../../support/virtual-yubikey/card/status-word.ts';

const bytes = (hex: string) => Buffer.from(hex.replaceAll(' ', ''), 'hex');

test.each([
  ['1', '00cb3fff', '', 256],
  ['2 short', '00f8000004', '', 4],
  ['2 short, 256', '00f8000000', '', 256],
  ['2 extended', '00f80000 00 0200', '', 512],
  ['2 extended, 65536', '00f80000 00 0000', '', 65536],
  ['3 short', '00cb3fff 02 5c00', '5c00', 256],
  ['3 extended', '00cb3fff 00 0002 5c00', '5c00', 65536],
  ['4 short', '00cb3fff 02 5c00 08', '5c00', 8],
  ['4 extended', '00cb3fff 00 0002 5c00 0100', '5c00', 256],
])('reads case %s of ISO/IEC 7816-4', (_case, hex, data, expectedLength) => {
  const apdu = parseCommandApdu(bytes(hex));
  expect([apdu.data.toString('hex'), apdu.expectedLength]).toEqual([data, expectedLength]);
});

test.each([
  ['a missing P2', '00cb3f'],
  ['data that ends early', '00cb3fff 03 5c00'],
  ['a long short Le', '00cb3fff 01 5c 0000'],
  ['a lone extended mark', '00cb3fff 00 00'],
  ['extended data that ends early', '00cb3fff 00 0005 5c'],
  ['an extended Le of one octet', '00cb3fff 00 0001 5c 00'],
])('answers 6700 to %s', async (_what, hex) => {
  const channel = new ApduChannel(async () => Buffer.alloc(0));
  expect((await channel.transmit(bytes(hex))).toString('hex')).toBe('6700');
});

/** A channel to a card that answers each command with its data, and the commands that reached it. */
function echo() {
  const commands: CommandApdu[] = [];
  const channel = new ApduChannel(async (command) => {
    commands.push(command);
    return command.ins === 0xff ? refuse('WRONG_DATA') : command.data;
  });
  const send = async (hex: string) => (await channel.transmit(bytes(hex))).toString('hex');
  return { commands, send, channel };
}

test('joins the parts of a chained command', async () => {
  const { commands, send } = echo();
  expect(await send('10db3fff 02 0102')).toBe('9000');
  expect(await send('10db3fff 02 0304')).toBe('9000');
  expect(await send('00db3fff 01 05')).toBe('01020304059000');
  expect(commands).toHaveLength(1);
});

test('forgets a chain that another command interrupts', async () => {
  const { send } = echo();
  await send('10db3fff 02 0102');
  expect(await send('00cb3fff 01 aa')).toBe('aa9000');
  expect(await send('00db3fff 01 05')).toBe('059000');
});

test('forgets a chain after a refusal, and with the power', async () => {
  const { send, channel } = echo();
  await send('10ff3fff 02 0102');
  expect(await send('00ff3fff 01 05')).toBe('6a80');
  await send('10db3fff 02 0102');
  channel.reset();
  expect(await send('00db3fff 01 05')).toBe('059000');
});

test('ends a chain that grows too long with 6700', async () => {
  const { send } = echo();
  const part = `10db3fff ff ${'00'.repeat(255)}`;
  const answers: string[] = [];
  for (let index = 0; index < 33; index++) answers.push(await send(part));
  expect(new Set(answers.slice(0, 32))).toEqual(new Set(['9000']));
  expect(answers[32]).toBe('6700');
});

test('hands out a long response in parts and says how much is left', async () => {
  const { send } = echo();
  const data = '00'.repeat(250) + '11'.repeat(250) + '22'.repeat(100);
  const first = await send(`00db3fff 00 0258 ${data} 0100`);
  expect(first.slice(-4)).toBe('6100'); // 344 left: more than fits
  const second = await send('00c00000 00');
  expect(second.slice(-4)).toBe('6158');
  const third = await send('00c00000 58');
  expect(first.slice(0, -4) + second.slice(0, -4) + third.slice(0, -4)).toBe(data);
  expect(third.slice(-4)).toBe('9000');
});

test('drops the rest of a response when another command comes', async () => {
  const { send } = echo();
  expect((await send(`00db3fff 02 0102 01`)).slice(-4)).toBe('6101');
  await send('00cb3fff 01 aa');
  expect(await send('00c00000 00')).toBe('9000');
});
