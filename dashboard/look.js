// Something that is looked at again and again: every so often, and sooner when asked, but never twice at once nor
// sooner than `apart`. So whoever floods the master with events makes this page ask it no more often than that. Both
// are milliseconds; `every` may be a function of what was seen last.

export class Look {
  constructor({ take, every, apart, changed }) {
    Object.assign(this, { take, every, apart, changed, value: null, at: null, error: null });
    Object.assign(this, { begun: 0, busy: false, wanted: false, timer: null, over: false });
  }

  ask() {
    this.wanted = true;
    this.plan();
  }

  plan() {
    clearTimeout(this.timer);
    // Nobody sees a page in the background; who comes back to it asks.
    if (this.busy || this.over || document.hidden) {
      return;
    }
    const wait = this.begun + (this.wanted ? this.apart : this.pause()) - Date.now();
    this.timer = setTimeout(() => this.look(), Math.max(0, wait));
  }

  pause() {
    return typeof this.every === "function" ? this.every(this.value) : this.every;
  }

  async look() {
    Object.assign(this, { busy: true, wanted: false, begun: Date.now() });
    try {
      const value = await this.take(this.value);
      Object.assign(this, { value, at: Date.now(), error: null });
    } catch (error) {
      this.error = error;
    }
    this.busy = false;
    if (!this.over) {
      this.changed(this);
      this.plan();
    }
  }

  // Longer without an answer than it takes to miss one.
  old() {
    return this.error !== null || (this.at !== null && Date.now() - this.at > 2 * this.pause() + 10000);
  }

  stop() {
    this.over = true;
    clearTimeout(this.timer);
  }
}
