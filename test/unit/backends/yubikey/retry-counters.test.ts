import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseAnswers } from '../../../../src/backends/yubikey/opensc-tool.ts';
import { readMetadata } from '../../../../src/backends/yubikey/retry-counters.ts';

const COMMANDS = ['00F80000', '00F70080'];

/** As OpenSC 0.23 prints it: 16 bytes a line in hex, then as characters; below the first line the columns are filled. */
function printed(command: string, statusWord: string, data: Uint8Array): string {
  const bytes = Buffer.from(data);
  const lines: string[] = [];
  for (let offset = 0; offset < bytes.length; offset += 16) {
    const line = bytes.subarray(offset, offset + 16);
    const hex = [...line].map((byte) => `${byte.toString(16).toUpperCase().padStart(2, '0')} `).join('');
    const text = [...line].map((byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.')).join('');
    lines.push(`${offset === 0 ? hex : hex.padEnd(48)}${text}\n`);
  }
  const words = `SW1=0x${statusWord.slice(0, 2)}, SW2=0x${statusWord.slice(2)}`;
  const echo = command.replace(/../g, '$& ');
  return `Sending: ${echo}\nReceived (${words})${lines.length > 0 ? ':' : ''}\n${lines.join('')}`;
}

const GOOD =
  printed('00F80000', '9000', Buffer.from('00bc614e', 'hex')) +
  printed('00F70080', '9000', Buffer.from('0101ff0501010602', 'hex'));

describe('what opensc-tool prints', () => {
  it('is read back, whatever the bytes look like as characters', () => {
    const data = fc.oneof(fc.uint8Array({ maxLength: 70 }), fc.constantFrom(Buffer.from('AA'), Buffer.from('41 42 ')));
    fc.assert(
      fc.property(data, data, (first, second) => {
        const output = printed('00F80000', '9000', first) + printed('00F70080', '6A88', second);
        expect(parseAnswers(output, COMMANDS)).toEqual([
          { statusWord: 0x9000, data: Buffer.from(first) },
          { statusWord: 0x6a88, data: Buffer.from(second) },
        ]);
      }),
    );
  });

  it('is read as version 0.23 says it', () => {
    const output =
      'Sending: 00 A4 04 00 05 A0 00 00 03 08 \nReceived (SW1=0x90, SW2=0x00):\n' +
      '61 11 4F 06 00 00 10 00 01 00 79 07 4F 05 A0 00 a.O.......y.O...\n' +
      '00 03 08                                        ...\n' +
      'Sending: 00 F8 00 00 \nReceived (SW1=0x90, SW2=0x00):\n00 BC 61 4E ..aN\n' +
      'Sending: 00 20 00 80 \nReceived (SW1=0x63, SW2=0xC3)\n';
    const answers = parseAnswers(output, ['00A4040005A000000308', '00F80000', '00200080']);
    expect(answers?.map(({ statusWord, data }) => [statusWord.toString(16), data.toString('hex')])).toEqual([
      ['9000', '61114f0600001000010079074f05a000000308'],
      ['9000', '00bc614e'],
      ['63c3', ''],
    ]);
  });

  it.each([
    ['nothing', ''],
    ['an answer too few', printed('00F80000', '9000', Buffer.alloc(4))],
    ['an answer too many', GOOD + printed('00F70080', '9000', Buffer.alloc(4))],
    ['answers in another order', printed('00F70080', '9000', Buffer.of(1)) + printed('00F80000', '9000', Buffer.of(2))],
    ['something before', `Using reader\n${GOOD}`],
    ['something after', `${GOOD}More\n`],
    ['a line of another length', GOOD.replace('..aN', '..aN.')],
    ['no line where bytes are announced', GOOD.replace('00 BC 61 4E ..aN\n', '')],
    ['a line where none are announced', GOOD.replace('SW2=0x00):\n00 BC', 'SW2=0x00)\n00 BC')],
    ['digits that are none', GOOD.replace('00 BC', '0x BC')],
    ['a short line before the last', GOOD.replace('..aN\n', '..aN\n01 02 ..\n')],
    ['a status word of one byte', GOOD.replace(', SW2=0x00', '')],
  ])('is refused with %s', (_, output) => {
    expect(parseAnswers(output, COMMANDS)).toBeUndefined();
  });

  it('may be anything', () => {
    expect(parseAnswers(GOOD, COMMANDS)).toHaveLength(2);
    const noise = fc.oneof(fc.string(), fc.string({ unit: fc.constantFrom('S', 'e', '0', ' ', '\n', ':', '(', '9') }));
    const place = fc.nat(GOOD.length);
    fc.assert(
      fc.property(noise, place, place, (text, from, to) => {
        const changed = GOOD.slice(0, Math.min(from, to)) + text + GOOD.slice(Math.max(from, to));
        const answers = parseAnswers(changed, COMMANDS);
        expect(answers === undefined || answers.length === COMMANDS.length).toBe(true);
      }),
    );
  });
});

describe('metadata of PIN, PUK and management key', () => {
  const answer = (hex: string, statusWord = 0x9000) => ({ statusWord, data: Buffer.from(hex, 'hex') });

  it('tell tries and what is still as it left the factory', () => {
    expect(
      readMetadata([answer('0101ff05010106020302'), answer('0101ff05010006020300'), answer('010103050101')]),
    ).toEqual({
      pin: { triesLeft: 2, isFactory: true },
      puk: { triesLeft: 0, isFactory: false },
      isManagementKeyFactory: true,
    });
  });

  it.each([
    ['a status word that is no success', answer('0101ff05010106020303', 0x6d00)],
    ['nothing in it', answer('')],
    ['the algorithm of a key', answer('01011105010106020303')],
    ['more tries left than there are', answer('0101ff05010106020304')],
    ['one byte of tries', answer('0101ff050101060103')],
    ['three bytes of tries', answer('0101ff0501010603030303')],
    ['an end in the middle', answer('0101ff050101060203')],
    ['no answer', undefined],
  ])('are not believed with %s', (_, pin) => {
    expect(readMetadata(pin === undefined ? [] : [pin]).pin).toBeUndefined();
  });

  it('never tell more tries than a byte holds, whatever they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (data) => {
        const tries = readMetadata([{ statusWord: 0x9000, data: Buffer.from(data) }]).pin?.triesLeft ?? 0;
        expect(tries).toBeGreaterThanOrEqual(0);
        expect(tries).toBeLessThanOrEqual(255);
      }),
    );
  });
});
