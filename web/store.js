// What the page remembers between visits: choices only, never questions or keys.

const PREFIX = 'souffleur.';

export function keep(name, value) {
  try {
    localStorage.setItem(PREFIX + name, value);
  } catch {
    // Storage may be forbidden: then the choice lasts as long as the page.
  }
}

export function kept(name) {
  try {
    return localStorage.getItem(PREFIX + name);
  } catch {
    return null;
  }
}

export function drop(name) {
  try {
    localStorage.removeItem(PREFIX + name);
  } catch {
    // As above.
  }
}
