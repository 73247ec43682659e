/**
 * A program that wants a card for itself, as gpg's scdaemon does. Its argument is the reader's name. It prints `taken`, or
 * the code of PC/SC's refusal, and keeps what it has until SIGTERM.
 */
import koffi from 'koffi';

/** winscard.h of pcsc-lite, where LONG and DWORD are `long`. */
const SCARD_SCOPE_SYSTEM = 2;
const SCARD_SHARE_EXCLUSIVE = 1;
const SCARD_PROTOCOL_T0_OR_T1 = 3;
const SCARD_LEAVE_CARD = 0;

const pcsc = koffi.load('libpcsclite.so.1');
const establishContext = pcsc.func(
  'long SCardEstablishContext(unsigned long scope, const void *reserved1, const void *reserved2, _Out_ long *context)',
);
const connect = pcsc.func(
  'long SCardConnect(long context, const char *reader, unsigned long share, unsigned long protocols, _Out_ long *card, _Out_ unsigned long *protocol)',
);
const disconnect = pcsc.func('long SCardDisconnect(long card, unsigned long disposition)');

const context = [0];
const card = [0];
const refusal =
  establishContext(SCARD_SCOPE_SYSTEM, null, null, context) ||
  connect(context[0], process.argv[2], SCARD_SHARE_EXCLUSIVE, SCARD_PROTOCOL_T0_OR_T1, card, [0]);

const untilTold = setInterval(() => undefined, 60_000);
process.on('SIGTERM', () => {
  clearInterval(untilTold);
  if (refusal === 0) process.exitCode = disconnect(card[0], SCARD_LEAVE_CARD) === 0 ? 0 : 1;
});
process.stdout.write(refusal === 0 ? 'taken\n' : `0x${(refusal >>> 0).toString(16)}\n`);
