/** Keeps up to `capacity` objects that are costly to make. Beyond that it destroys the least recently used ones, but none while it is in use. */
export class Cache<T extends { destroy(): void }> {
  private readonly entries = new Map<string, { value: Promise<T>; users: number }>();

  constructor(private readonly capacity: number) {}

  /** Runs `use` on the value of this key, made first if need be. A value that could not be made is not kept. */
  async use<R>(key: string, make: () => Promise<T>, use: (value: T) => R | Promise<R>): Promise<R> {
    const entry = this.entries.get(key) ?? { value: make(), users: 0 };
    this.entries.delete(key);
    this.entries.set(key, entry); // to the end: the order of the entries is from least to most recently used
    entry.users++;
    try {
      const value = await entry.value.catch((error) => {
        if (this.entries.get(key) === entry) this.entries.delete(key);
        throw error;
      });
      return await use(value);
    } finally {
      entry.users--;
      this.evict();
    }
  }

  private evict(): void {
    for (const [key, { value, users }] of this.entries) {
      if (this.entries.size <= this.capacity) return;
      if (users > 0) continue;
      this.entries.delete(key);
      value.then((made) => made.destroy()).catch(() => {}); // a value that could not be made is not destroyed
    }
  }
}
