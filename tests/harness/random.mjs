// Random choices that a seed repeats. `SEED=123` replays a run's schedule; the seed is printed.

export class Random {
  #state;

  constructor(seed) {
    this.seed = seed >>> 0;
    this.#state = this.seed;
  }

  /** From SEED, or fresh; says which. */
  static announced(what) {
    const given = Number.parseInt(process.env.SEED ?? "", 10);
    const random = new Random(Number.isNaN(given) ? (Math.random() * 2 ** 32) >>> 0 : given);
    console.log(`# ${what}: SEED=${random.seed}`);
    return random;
  }

  /** In [0, 1). Mulberry32. */
  next() {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let x = this.#state;
    x = Math.imul(x ^ (x >>> 15), x | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number, both ends included. */
  between(least, most) {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  pick(list) {
    return list[this.between(0, list.length - 1)];
  }

  /** An independent stream, so that one actor's draws do not shift another's. */
  fork() {
    return new Random(this.between(0, 2 ** 32 - 1));
  }
}
