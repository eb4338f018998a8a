// Applies the reader's own choice of theme before the first paint; without one the system decides.
try {
  const theme = localStorage.getItem('souffleur.theme');
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden: the system's theme it is.
}
