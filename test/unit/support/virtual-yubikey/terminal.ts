/** A card without a reader, and a terminal that talks to it. */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { Applet } from '../../../support/virtual-yubikey/card/applet.ts';
import { type Issuer, newAttestationKey, newMaker } from '../../../support/virtual-yubikey/card/attestation.ts';
import { personalise } from '../../../support/virtual-yubikey/card/personalise.ts';
import type { CardSettings } from '../../../support/virtual-yubikey/card/settings.ts';
import type { TouchSensor } from '../../../support/virtual-yubikey/card/state.ts';
import { INSTRUCTION, type InstructionName } from '../../../support/virtual-yubikey/card/tables.ts';
import { parseTlvs, requireTlv, tlv } from '../../../support/virtual-yubikey/card/tlv.ts';

export const FACTORY_KEY = Buffer.from('010203040506070801020304050607080102030405060708', 'hex');
export const PIN = reference('123456');
export const PUK = reference('12345678');

export interface Terminal {
  readonly applet: Applet;
  readonly maker: Issuer;
  /** Sends a command in as many parts as it takes. @returns The status word as four hex digits, and all data. */
  send(instruction: InstructionName, p1: number, p2: number, data?: Uint8Array): Promise<Answer>;
  /** As `send`. @throws {Error} if the status word is not 9000 @returns The data */
  expectData(instruction: InstructionName, p1: number, p2: number, data?: Uint8Array): Promise<Buffer>;
  select(): Promise<Answer>;
  verifyPin(pin?: Uint8Array): Promise<string>;
  /** Mutual authentication. @returns The last status word */
  authenticate(algorithmId?: number, key?: Uint8Array): Promise<string>;
}

interface Answer {
  readonly statusWord: string;
  readonly data: Buffer;
}

/** Made once: RSA keys take their time. */
let factory: Promise<{ readonly maker: Issuer; readonly attestation: Issuer }> | undefined;

async function newFactory() {
  const maker = await newMaker();
  return { maker, attestation: await newAttestationKey(maker) };
}

/** A card that is in the reader, with the PIV application selected. */
export async function terminal(settings: Partial<CardSettings> = {}, touch = untouched): Promise<Terminal> {
  factory ??= newFactory();
  const { maker, attestation } = await factory;
  const applet = new Applet(await personalise({ serial: 12345678, ...settings }, attestation, touch));
  const send: Terminal['send'] = async (instruction, p1, p2, data = Buffer.alloc(0)) => {
    const header = [INSTRUCTION[instruction], p1, p2];
    let rest = Buffer.from(data);
    for (; rest.length > 255; rest = rest.subarray(255)) {
      await applet.transmit(Buffer.from([0x10, ...header, 255, ...rest.subarray(0, 255)]));
    }
    let response = await applet.transmit(
      Buffer.from([0x00, ...header, ...(rest.length ? [rest.length, ...rest] : [])]),
    );
    const parts = [response.subarray(0, -2)];
    while (response.at(-2) === 0x61) {
      response = await applet.transmit(Buffer.from([0x00, INSTRUCTION.GET_RESPONSE, 0, 0, 0]));
      parts.push(response.subarray(0, -2));
    }
    return { statusWord: response.subarray(-2).toString('hex'), data: Buffer.concat(parts) };
  };
  const expectData: Terminal['expectData'] = async (instruction, p1, p2, data) => {
    const answer = await send(instruction, p1, p2, data);
    if (answer.statusWord !== '9000') throw new Error(`${instruction} was answered ${answer.statusWord}`);
    return answer.data;
  };
  const select = () => send('SELECT', 4, 0, Buffer.from('a000000308', 'hex'));
  await select();
  return {
    applet,
    maker,
    send,
    expectData,
    select,
    verifyPin: async (pin = PIN) => (await send('VERIFY', 0, 0x80, pin)).statusWord,
    authenticate: async (algorithmId = 0x03, key = FACTORY_KEY) => {
      const cipher = { 3: 'des-ede3', 8: 'aes-128-ecb', 10: 'aes-192-ecb', 12: 'aes-256-ecb' }[algorithmId];
      if (cipher === undefined) throw new Error(`no cipher ${algorithmId}`);
      const started = await send('GENERAL_AUTHENTICATE', algorithmId, 0x9b, tlv(0x7c, tlv(0x80)));
      if (started.statusWord !== '9000') return started.statusWord;
      const witness = insideTemplate(started.data, 0x80);
      const decipher = createDecipheriv(cipher, key, null).setAutoPadding(false);
      const challenge = randomBytes(witness.length);
      const answer = tlv(0x7c, tlv(0x80, decipher.update(witness)), tlv(0x81, challenge));
      const { statusWord, data } = await send('GENERAL_AUTHENTICATE', algorithmId, 0x9b, answer);
      if (statusWord !== '9000') return statusWord;
      const proof = createCipheriv(cipher, key, null).setAutoPadding(false).update(challenge);
      if (!insideTemplate(data, 0x82).equals(proof)) throw new Error('the card has another management key');
      return statusWord;
    },
  };
}

/** A PIN or PUK as it is sent. */
export function reference(characters: string): Buffer {
  const padded = Buffer.alloc(8, 0xff);
  padded.write(characters);
  return padded;
}

/** The object with `tag` in the dynamic authentication template. */
export function insideTemplate(data: Buffer, tag: number): Buffer {
  return requireTlv(parseTlvs(requireTlv(parseTlvs(data), 0x7c)), tag);
}

/** GENERAL AUTHENTICATE's data for a signature. */
export function signatureRequest(input: Uint8Array): Buffer {
  return tlv(0x7c, tlv(0x82), tlv(0x81, input));
}

const untouched: TouchSensor = { touched: async () => false };
