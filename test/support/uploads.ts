/** Uploads to a test's trust server, taken as notary-server takes them, or not. */
import { parseRoot } from '../../src/tuf/metadata.ts';
import { nextTimestamp } from '../../src/tuf/next-version.ts';
import { baseAuthority } from '../../src/tuf/root.ts';
import type { TestTrustServer } from './trust-server.ts';
import type { TestCollection } from './tuf-collection.ts';

/**
 * A status; 200 takes the upload, 409 tells of a newer version. 'forget' says that it is taken, and does not; 'take-and-fail'
 * takes it, and answers as a gateway that has waited too long.
 */
export type UploadAnswer = number | 'forget' | 'take-and-fail';

export class Uploads {
  readonly #server: TestTrustServer;
  readonly #published: TestCollection;
  /** Roles of each upload that was taken. */
  readonly taken: string[][] = [];
  /** What the server does with the next uploads, one after the other; then it takes them. */
  answers: UploadAnswer[] = [];
  /** The server's present. */
  clock: Date;

  constructor(server: TestTrustServer, published: TestCollection, clock: Date) {
    this.#server = server;
    this.#published = published;
    this.clock = clock;
    server.answer = (request, response) => {
      if (request.method !== 'POST') return false;
      void request.toArray().then(async (chunks: Buffer[]) => {
        const answer = this.answers.shift() ?? 200;
        if (answer === 409) {
          response.writeHead(400).end('{"errors":[{"code":"VERSION","message":"newer"}]}');
          return;
        }
        if (typeof answer === 'number' && answer !== 200) {
          response.writeHead(answer).end();
          return;
        }
        const files = filesOf(Buffer.concat(chunks));
        this.taken.push([...files.keys()]);
        if (answer !== 'forget') await this.take(files);
        response.writeHead(answer === 'take-and-fail' ? 504 : 200).end();
      });
      return true;
    };
  }

  /** Makes a timestamp for the new snapshot, and serves the files. */
  async take(files: ReadonlyMap<string, Buffer>): Promise<void> {
    const published = this.#published;
    const root = files.get('root');
    if (root !== undefined) published.root = parseRoot(root).signed;
    const snapshot = files.get('snapshot') ?? Buffer.alloc(0);
    published.timestamp = nextTimestamp(published.timestamp, snapshot, this.clock);
    const timestamp = await published.file(published.timestamp, [baseAuthority(published.root, 'timestamp')]);
    this.#server.publish(new Map([...files, ['timestamp', timestamp]]), published.root.version);
  }
}

/** Parts of an upload, by file name. */
function filesOf(body: Buffer): Map<string, Buffer> {
  const boundary = body.subarray(0, body.indexOf('\r\n')).toString('latin1');
  const parts = body.toString('latin1').split(boundary).slice(1, -1);
  return new Map(
    parts.map((part) => {
      const [, role = ''] = /filename="([^"]+)"/.exec(part) ?? [];
      return [role, Buffer.from(part.slice(part.indexOf('\r\n\r\n') + 4, -2), 'latin1')];
    }),
  );
}
