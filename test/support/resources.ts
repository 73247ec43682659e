/** Several things that must be given back, in the reverse order of their making. */
export class Resources implements AsyncDisposable {
  readonly #disposables: AsyncDisposable[] = [];

  /** Takes charge of a resource. @returns The resource */
  use<T extends AsyncDisposable>(resource: T): T {
    this.#disposables.push(resource);
    return resource;
  }

  /** Disposes everything, also when some of it fails. @throws {unknown} The first failure */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = [];
    for (const disposable of this.#disposables.splice(0).reverse()) {
      try {
        await disposable[Symbol.asyncDispose]();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}
