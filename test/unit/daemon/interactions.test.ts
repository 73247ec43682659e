import { EventEmitter } from 'node:events';
import { Metadata } from '@grpc/grpc-js';
import { describe, expect, it } from 'vitest';
import { CallContext } from '../../../src/daemon/calls.ts';
import { INTERACTIVE_CALL_MS, Interactions, patienceFor } from '../../../src/daemon/interactions.ts';
import type { InteractionEvent, InteractionReply } from '../../../src/rpc/messages.ts';

/** What grpc-js hands to the handler, as far as it is looked at. */
class FakeStream extends EventEmitter {
  readonly sent: InteractionEvent[] = [];
  readonly errors: { readonly code?: number; readonly details?: string }[] = [];
  readonly peer: string;
  writableLength = 0;
  hasEnded = false;

  constructor(peer = 'unix:1') {
    super();
    this.peer = peer;
    this.on('error', (error) => this.errors.push(error as object));
  }
  getPeer(): string {
    return this.peer;
  }
  write(event: InteractionEvent): boolean {
    this.sent.push(event);
    return true;
  }
  end(): void {
    this.hasEnded = true;
  }
  reply(reply: InteractionReply): void {
    this.emit('data', reply);
  }
  get session(): string {
    return this.sent[0]?.session ?? '';
  }
}

/** Connections are named `kind:number/client`, where the client has several; otherwise each is a client's only one. */
const newInteractions = () => new Interactions((peer) => peer.split('/')[1] ?? peer);

function open(interactions: Interactions, peer?: string): FakeStream {
  const stream = new FakeStream(peer);
  interactions.serve(stream as unknown as Parameters<Interactions['serve']>[0]);
  return stream;
}

function contextOf(session: string | undefined, address = 'unix:1'): CallContext {
  const metadata = new Metadata();
  if (session !== undefined) metadata.set('signet-interaction', session);
  return new CallContext({
    peer: { name: 'test', client: 'test' },
    address,
    deadline: Number.POSITIVE_INFINITY,
    metadata,
  });
}

function asking(interactions: Interactions, stream: FakeStream, context = contextOf(stream.session)) {
  const interaction = interactions.of(context);
  if (interaction === undefined) throw new Error('the call names no session');
  return interaction;
}

const KEY = { role: 'root', gun: '' };

describe('a session', () => {
  it('has a random name of 128 bits', () => {
    const interactions = newInteractions();
    const names = [open(interactions), open(interactions)].map(({ session }) => session);
    expect(names.every((name) => /^[0-9a-f]{32}$/.test(name))).toBe(true);
    expect(new Set(names).size).toBe(2);
  });

  it('is found by calls of its own connection only', () => {
    const interactions = newInteractions();
    const { session } = open(interactions, 'unix:1');
    expect(interactions.of(contextOf(session, 'unix:1'))).toBeDefined();
    expect(interactions.of(contextOf(undefined))).toBeUndefined();
    for (const context of [contextOf(session, 'unix:2'), contextOf('0'.repeat(32)), contextOf('')]) {
      expect(() => interactions.of(context)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }));
    }
  });

  it.each(['end', 'cancelled', 'close', 'error'])('is gone after "%s", with its questions declined', async (event) => {
    const interactions = newInteractions();
    const stream = open(interactions);
    const answer = asking(interactions, stream).passphrase(KEY, 0);
    stream.emit(event, new Error('lost'));
    expect(await answer).toBeUndefined();
    expect(interactions.size).toBe(0);
    expect(() => interactions.of(contextOf(stream.session))).toThrow('no such interaction');
  });

  it('withdraws its questions when the daemon drains, asks no more, and still tells what a token waits for', async () => {
    const interactions = newInteractions();
    const stream = open(interactions);
    const interaction = asking(interactions, stream);
    const shutDown = { code: 'UNAVAILABLE', message: 'the daemon is shutting down' };
    const answer = interaction.passphrase(KEY, 0);
    interactions.drain();
    await expect(answer).rejects.toMatchObject(shutDown);
    expect(stream.sent.at(-1)).toEqual({ prompt_id: 1, done: true });
    await expect(interaction.passphrase(KEY, 1)).rejects.toMatchObject(shutDown);
    expect(stream.sent).toHaveLength(3);
    interaction.touch({ backend: 'pkcs11', label: '', serial: '' }, KEY);
    expect(stream.sent.at(-1)?.touch).toBeDefined();
    expect(stream.hasEnded).toBe(false);
    expect(open(interactions).errors).toMatchObject([{ code: 14, details: 'the daemon is shutting down' }]);
  });

  it('gives its calls five minutes, and no others', () => {
    expect(patienceFor(contextOf('x').metadata)).toBe(INTERACTIVE_CALL_MS);
    expect(patienceFor(contextOf(undefined).metadata)).toBe(0);
  });
});

describe('what is bounded', () => {
  it('the number of sessions', () => {
    const interactions = newInteractions();
    for (let i = 0; i < 1024; i++) expect(open(interactions, `unix:${i}`).errors).toEqual([]);
    const refused = open(interactions);
    expect(refused.errors).toMatchObject([{ code: 8, details: 'too many interactions' }]);
    interactions.close();
    expect(interactions.size).toBe(0);
    expect(open(interactions).errors).toMatchObject([{ code: 14, details: 'the daemon is shutting down' }]);
  });

  it('the sessions of one client, on all its connections: others have theirs all the same', () => {
    const interactions = newInteractions();
    const streams = Array.from({ length: 256 }, (_, i) => open(interactions, `unix:${i}/greedy`));
    expect(streams.flatMap(({ errors }) => errors)).toEqual([]);
    expect(open(interactions, 'unix:256/greedy').errors).toMatchObject([
      { code: 8, details: 'too many interactions of one client' },
    ]);
    expect(open(interactions, 'unix:257/other').errors).toEqual([]);
    streams[0]?.emit('end');
    expect(open(interactions, 'unix:258/greedy').errors).toEqual([]);
    expect(open(interactions, 'unix:259/greedy').errors).toHaveLength(1);
  });

  it('the questions and notices of one session', async () => {
    const interactions = newInteractions();
    const stream = open(interactions);
    const interaction = asking(interactions, stream);
    const token = { backend: 'pkcs11', label: '', serial: '' };
    for (let i = 0; i < 256; i++) interaction.touch(token, KEY);
    await expect(interaction.passphrase(KEY, 0)).rejects.toMatchObject({
      code: 'OVERLOADED',
      message: 'too many questions are open',
    });
    const { length } = stream.sent;
    interaction.touch(token, KEY)[Symbol.dispose](); // a notice is left out: the signature goes on
    expect(stream.sent).toHaveLength(length);
  });

  it('what a client leaves unread', async () => {
    const interactions = newInteractions();
    const stream = open(interactions);
    const interaction = asking(interactions, stream);
    stream.writableLength = 1024;
    expect(await interaction.passphrase(KEY, 0)).toBeUndefined();
    expect(stream.errors).toMatchObject([{ code: 8, details: 'the client does not read its interaction' }]);
    expect(interactions.size).toBe(0);
  });
});

describe('an answer', () => {
  it('reaches the call that asked, whatever the order', async () => {
    const interactions = newInteractions();
    const stream = open(interactions);
    const interaction = asking(interactions, stream);
    const answers = [interaction.passphrase(KEY, 0), interaction.passphrase(KEY, 1)];
    stream.reply({ prompt_id: 2, answer: 'secret', secret: Buffer.from('two') });
    stream.reply({ prompt_id: 1, answer: 'secret', secret: Buffer.from('one') });
    const texts = (await Promise.all(answers)).map((secret) => Buffer.from(secret?.bytes() ?? []).toString());
    expect(texts).toEqual(['one', 'two']);
    expect(stream.sent.filter(({ done }) => done)).toEqual([]);
  });

  it('that nobody waits for is zeroed', async () => {
    const interactions = newInteractions();
    const stream = open(interactions);
    const late = Buffer.from('too late');
    stream.reply({ prompt_id: 7, answer: 'secret', secret: late });
    expect(late).toEqual(Buffer.alloc(8));
    const context = contextOf(stream.session);
    const answer = asking(interactions, stream, context).passphrase(KEY, 0);
    context.abort();
    expect(await answer).toBeUndefined();
    expect(stream.sent.at(-1)).toEqual({ prompt_id: 1, done: true });
    const crossing = Buffer.from('crossing');
    stream.reply({ prompt_id: 1, answer: 'secret', secret: crossing });
    expect(crossing).toEqual(Buffer.alloc(8));
  });

  it('that is too long is zeroed, and ends the session', async () => {
    const interactions = newInteractions();
    const stream = open(interactions);
    const answer = asking(interactions, stream).passphrase(KEY, 0);
    const long = Buffer.alloc(1025, 'x');
    stream.reply({ prompt_id: 1, answer: 'secret', secret: long });
    expect(await answer).toBeUndefined();
    expect(long).toEqual(Buffer.alloc(1025));
    expect(stream.errors).toMatchObject([{ code: 3, details: 'an answer is longer than 1024 bytes' }]);
  });

  it('is not asked for in the name of a call that is over', async () => {
    const interactions = newInteractions();
    const stream = open(interactions);
    const context = contextOf(stream.session);
    const interaction = asking(interactions, stream, context);
    context.abort();
    expect(await interaction.passphrase(KEY, 0)).toBeUndefined();
    expect(stream.sent).toHaveLength(1);
  });

  it.each([['1234567'], [' \t1234567\n'], ['12345678'], ['äöüß']])('%j is a new passphrase as it is', async (text) => {
    const interactions = newInteractions();
    const stream = open(interactions);
    const answer = asking(interactions, stream).newPassphrase(KEY);
    stream.reply({ prompt_id: 1, answer: 'secret', secret: Buffer.from(text) });
    expect(Buffer.from((await answer)?.bytes() ?? []).toString()).toBe(text);
  });
});

describe('a notice', () => {
  it('goes when it is disposed of, once', () => {
    const interactions = newInteractions();
    const stream = open(interactions);
    const notice = asking(interactions, stream).touch({ backend: 'yubikey', label: 'l', serial: 's' }, KEY);
    notice[Symbol.dispose]();
    notice[Symbol.dispose]();
    expect(stream.sent.slice(1).map(({ prompt_id, touch, done }) => [prompt_id, touch !== undefined, done])).toEqual([
      [1, true, undefined],
      [1, false, true],
    ]);
  });
});
