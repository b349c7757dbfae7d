/** Keeps what is costly to make and has to be destroyed: at most `capacity` of them, the longest unused goes first, none while in use. */
export class Cache<T extends { destroy(): void }> {
  private readonly entries = new Map<string, { value: Promise<T>; users: number }>();

  constructor(private readonly capacity: number) {}

  /** Runs `use` on the value of this key, made first if need be. A value that could not be made is not kept. */
  async use<R>(key: string, make: () => Promise<T>, use: (value: T) => R | Promise<R>): Promise<R> {
    const entry = this.entries.get(key) ?? { value: make(), users: 0 };
    this.entries.delete(key);
    this.entries.set(key, entry); // the last in order is the latest used
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
      value.then((made) => made.destroy()).catch(() => {}); // one that could not be made needs no end
    }
  }
}
