/** Yubico's commands that only ask: no PIN, no management key, nothing that a login would be lost by. */
import type { CardAnswer } from './opensc-tool.ts';

/** A card at work, as one that waits for a touch, answers nobody else; milliseconds. */
export const CARD_TIMEOUT_MS = 3000;

/** Status words (ISO 7816-4 5.6). */
export const SUCCESS = 0x9000;
export const REFERENCED_DATA_NOT_FOUND = 0x6a88;

/** Of the PIV application, since firmware 5.0. */
export const GET_SERIAL = '00F80000';

/**
 * Since firmware 5.3. Of a slot without a key: 6A88.
 *
 * @param reference Two hex digits: a slot, or PIN (80), PUK (81), management key (9B).
 */
export function getMetadata(reference: string): string {
  return `00F700${reference.toUpperCase()}`;
}

/** @param answer To `GET_SERIAL`. @param serial Decimal. @returns Whether that YubiKey answers, with PIV selected. */
export function isSerial(answer: CardAnswer | undefined, serial: string): boolean {
  return answer?.statusWord === SUCCESS && answer.data.length === 4 && String(answer.data.readUInt32BE()) === serial;
}
