/** The agent's calls on tokens as a whole. */
import type { KeyBackend, TokenManager } from '../../backends/backend.ts';
import { derivedContext } from '../../backends/derived-context.ts';
import type { WhichToken } from '../../backends/token-facts.ts';
import { SignetError } from '../../errors.ts';
import type { Keyring } from '../../keyring/keyring.ts';
import { chooseToken, isToken, locations } from '../../keyring/target.ts';
import type {
  ChangePinRequest,
  InitialiseTokenRequest,
  ListTokensResponse,
  TokenRequest,
  TokenStatusMessage,
} from '../../rpc/messages.ts';
import type { Logger } from '../log.ts';
import { toSignetError } from '../status.ts';
import type { AgentCalls } from './agent-calls.ts';
import { oneOf } from './agent-messages.ts';
import { tokenNameOf } from './token-name.ts';

const PIN_SECRETS = ['pin', 'puk', 'so-pin'] as const;
/** CK_TOKEN_INFO.label, PKCS#11 §3.2. */
const MAX_LABEL_BYTES = 32;

/** Handlers of every method that is about a token, by name. */
export function tokenMethods(calls: AgentCalls, log: Logger) {
  return {
    ListTokens: calls.unary('ListTokens', async (_request, _context, { keyring }): Promise<ListTokensResponse> => {
      return { tokens: await Promise.all(keyring.backends.filter(isToken).map(statusMessage)) };
    }),
    ChangePin: calls.unary('ChangePin', async (request: ChangePinRequest, context, { keyring }) => {
      const secret = oneOf(PIN_SECRETS, request.secret, 'secret') ?? 'pin';
      const { backend, token, which } = await tokenOf(keyring, request);
      await token.changePin(secret, derivedContext(context, { token: which }));
      log.info({ caller: context.caller, token: backend.location, secret }, 'PIN changed');
      return {};
    }),
    UnblockPin: calls.unary('UnblockPin', async (request: TokenRequest, context, { keyring }) => {
      const { backend, token, which } = await tokenOf(keyring, request);
      await token.unblockPin(derivedContext(context, { token: which }));
      log.info({ caller: context.caller, token: backend.location }, 'PIN unblocked');
      return {};
    }),
    InitialiseToken: calls.unary('InitialiseToken', async (request: InitialiseTokenRequest, context, { keyring }) => {
      const { backend, token, which } = await tokenOf(keyring, request);
      if (token.initialise === undefined) {
        throw new SignetError('UNSUPPORTED', `${backend.location} cannot be initialised`, {
          hint: 'the PIV application of a YubiKey is erased by: ykman piv reset',
        });
      }
      checkLabel(request.label);
      await token.initialise(request.label, derivedContext(context, { token: which }));
      log.warn({ caller: context.caller, token: backend.location }, 'token erased and initialised');
      return {};
    }),
  };
}

/**
 * @param request Nothing in it: the only token.
 * @param label Of the token, where others may have the same serial number.
 * @returns `which`: the only one that is meant, where it was named by what it tells.
 * @throws {SignetError} TOKEN_NOT_PRESENT, INVALID_ARGUMENT if several tokens are meant, or configured and none is named
 */
export async function tokenOf(
  keyring: Keyring,
  request: TokenRequest,
  label?: string,
): Promise<{ readonly backend: KeyBackend; readonly token: TokenManager; readonly which: WhichToken | undefined }> {
  const tokens = keyring.backends.filter(isToken);
  const serial = request.serial || undefined;
  const name = tokenNameOf(request.token);
  const isNamed = serial !== undefined || name !== undefined;
  if (!isNamed && tokens.length > 1) {
    throw new SignetError('INVALID_ARGUMENT', `${tokens.length} tokens are configured`, {
      hint: `say which one: ${locations(tokens)}`,
    });
  }
  const { home: backend, which } = isNamed
    ? await chooseToken(tokens, { serial, label, name })
    : { home: tokens[0], which: undefined };
  if (backend?.token !== undefined) return { backend, token: backend.token, which };
  throw new SignetError('TOKEN_NOT_PRESENT', 'no token is configured', { hint: 'add one to "tokens"' });
}

async function statusMessage(backend: KeyBackend): Promise<TokenStatusMessage> {
  const { name, location } = backend;
  try {
    const status = await backend.token?.status();
    const health = await backend.health(); // after it has been attached: a health check waits for nothing long
    if (status !== undefined) {
      return {
        token: status.identity,
        manufacturer: status.manufacturer,
        model: status.model,
        firmware: status.firmware ?? '',
        module_path: status.modulePath,
        present: status.present,
        logged_in: status.loggedIn,
        pin_tries_left: status.pinTriesLeft ?? -1,
        puk_tries_left: status.pukTriesLeft ?? -1,
        pin_locked: status.pinLocked,
        warnings: status.warnings,
        location,
        problem: health.ready ? '' : health.reason,
      };
    }
    return unknownToken(name, location, '');
  } catch (error) {
    return unknownToken(name, location, toSignetError(error).message);
  }
}

function unknownToken(backend: string, location: string, problem: string): TokenStatusMessage {
  return {
    token: { backend, label: '', serial: '' },
    manufacturer: '',
    model: '',
    firmware: '',
    module_path: '',
    present: false,
    logged_in: false,
    pin_tries_left: -1,
    puk_tries_left: -1,
    pin_locked: false,
    warnings: [],
    location,
    problem,
  };
}

function checkLabel(label: string): void {
  const isText = label.isWellFormed() && !/\p{Cc}/u.test(label) && label === label.trim();
  if (label !== '' && isText && Buffer.byteLength(label) <= MAX_LABEL_BYTES) return;
  throw new SignetError('INVALID_ARGUMENT', 'this cannot be the label of a token', {
    hint: `use 1 to ${MAX_LABEL_BYTES} bytes of text without outer blanks`,
  });
}
