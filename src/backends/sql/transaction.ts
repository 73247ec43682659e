/** What every database has in common about transactions. */
import { SignetError } from '../../errors.ts';
import type { SqlQueries, SqlValue } from './database.ts';

/** One connection. */
export interface Session extends SqlQueries {
  readonly isUsable: boolean;
  /** Runs a statement of ours that has neither values nor rows. @throws {SignetError} as `SqlQueries.query` */
  control(sql: string): Promise<void>;
  destroy(): void;
}

/** What `work` sees of a connection: dead once a statement failed, and once the transaction is over. */
class Scope implements SqlQueries {
  readonly #session: Session;
  #failure: unknown;
  #last: Promise<unknown> = Promise.resolve();

  constructor(session: Session) {
    this.#session = session;
  }

  query(sql: string, values?: readonly SqlValue[]): Promise<Readonly<Record<string, SqlValue>>[]> {
    return this.#run(() => this.#session.query(sql, values));
  }

  execute(sql: string, values?: readonly SqlValue[]): Promise<number> {
    return this.#run(() => this.#session.execute(sql, values));
  }

  /** One at a time, since they share a connection. */
  #run<Result>(statement: () => Promise<Result>): Promise<Result> {
    const run = this.#last.then(() => {
      if (this.#failure !== undefined) throw this.#failure;
      return statement();
    });
    this.#last = run.catch((error: unknown) => {
      this.#failure ??= error;
    });
    return run;
  }

  /** Lets the statements under way end and refuses later ones. @throws {SignetError} what a statement failed with */
  async end(): Promise<void> {
    await this.#last;
    if (this.#failure !== undefined) throw this.#failure;
    this.#failure = new SignetError('INTERNAL', 'statement after the end of its transaction');
  }
}

/**
 * Runs `work` and ends the transaction that was begun on `session`. A connection on which even the rollback fails is
 * destroyed, so that the server rolls back.
 *
 * @throws {SignetError} what `work`, one of its statements or the commit failed with
 */
export async function completeTransaction<Result>(
  session: Session,
  work: (queries: SqlQueries) => Promise<Result>,
): Promise<Result> {
  const scope = new Scope(session);
  try {
    const result = await work(scope);
    await scope.end();
    await session.control('COMMIT');
    return result;
  } catch (error) {
    await scope.end().catch(() => undefined);
    if (session.isUsable) await session.control('ROLLBACK').catch(() => session.destroy());
    throw error;
  }
}
