/** The card: applications, and what each instruction of the PIV application does. No input, no output. */
import { ApduChannel, type CommandApdu } from './apdu.ts';
import { generalAuthenticate } from './commands/general-authenticate.ts';
import {
  attest,
  generateAsymmetric,
  getMetadata,
  importAsymmetric,
  moveKey,
  setManagementKey,
} from './commands/keys.ts';
import { getData, putData } from './commands/objects.ts';
import { changeReferenceData, resetRetryCounter, setPinRetries, verify } from './commands/reference-data.ts';
import { type CardState, newSession, resetToFactory, type Session } from './state.ts';
import { refuse } from './status-word.ts';
import { type InstructionName, instructionName } from './tables.ts';

/** Applications by AID; a SELECT may leave out their ends. Of all but PIV there is nothing else. */
const AIDS: readonly {
  readonly aid: string;
  readonly minimum: number;
  readonly application: Session['application'];
}[] = [
  { aid: 'a000000308000010000100', minimum: 5, application: 'piv' },
  { aid: 'a000000527471117', minimum: 8, application: 'management' },
  { aid: 'a0000005272101', minimum: 7, application: 'oath' },
  { aid: 'd27600012401', minimum: 6, application: 'openpgp' },
];
/** Application property template of PIV (NIST SP 800-73-4 Part 2 §3.1.1), as YubiKeys fill it. */
const PIV_PROPERTIES = Buffer.from('61114f0600001000010079074f05a000000308', 'hex');
/** CLA without the chaining bit: no secure messaging, channel 0. */
const PLAIN_CLA = 0x00;
const CHAINING_BIT = 0x10;

type Handler = (state: CardState, command: CommandApdu) => Promise<Buffer> | Buffer;

const HANDLERS: Readonly<Record<Exclude<InstructionName, 'SELECT' | 'GET_RESPONSE'>, Handler>> = {
  VERIFY: verify,
  CHANGE_REFERENCE_DATA: changeReferenceData,
  RESET_RETRY_COUNTER: resetRetryCounter,
  SET_PIN_RETRIES: setPinRetries,
  GENERAL_AUTHENTICATE: generalAuthenticate,
  GENERATE_ASYMMETRIC: generateAsymmetric,
  IMPORT_KEY: importAsymmetric,
  MOVE_KEY: moveKey,
  ATTEST: attest,
  GET_METADATA: getMetadata,
  SET_MANAGEMENT_KEY: setManagementKey,
  GET_DATA: getData,
  PUT_DATA: putData,
  GET_VERSION: ({ firmware }) => Buffer.from(firmware),
  GET_SERIAL: ({ serial }) => serialOctets(serial),
  RESET: (state) => {
    if (state.pin.retriesLeft > 0 || state.puk.retriesLeft > 0) refuse('CONDITIONS_NOT_SATISFIED');
    resetToFactory(state);
    return Buffer.alloc(0);
  },
};

export class Applet {
  readonly state: CardState;
  readonly #channel: ApduChannel;

  constructor(state: CardState) {
    this.state = state;
    this.#channel = new ApduChannel((command) => this.#execute(command));
  }

  /** Answers one APDU; one at a time. */
  async transmit(apdu: Buffer): Promise<Buffer> {
    return await this.#channel.transmit(apdu);
  }

  /** Forgets what power-off and reset make a card forget. */
  powerOff(): void {
    this.#channel.reset();
    this.state.session = newSession();
  }

  async #execute(command: CommandApdu): Promise<Buffer> {
    if ((command.cla & ~CHAINING_BIT) !== PLAIN_CLA) refuse('CLASS_NOT_SUPPORTED');
    const name = instructionName(command.ins);
    if (name === 'SELECT') return select(this.state, command);
    if (name === undefined || name === 'GET_RESPONSE' || this.state.session.application !== 'piv') {
      return refuse('INSTRUCTION_NOT_SUPPORTED');
    }
    return await HANDLERS[name](this.state, command);
  }
}

/** By name only. Selecting, again too, withdraws every proof of PIN and management key. */
function select(state: CardState, { p1, data }: CommandApdu): Buffer {
  if (p1 !== 0x04) refuse('WRONG_PARAMETERS');
  const name = data.toString('hex');
  const found = AIDS.find(({ aid, minimum }) => data.length >= minimum && aid.startsWith(name));
  if (found === undefined) refuse('FILE_NOT_FOUND');
  state.session = { ...newSession(), application: found.application };
  return found.application === 'piv' ? PIV_PROPERTIES : Buffer.alloc(0);
}

function serialOctets(serial: number): Buffer {
  const octets = Buffer.alloc(4);
  octets.writeUInt32BE(serial);
  return octets;
}
