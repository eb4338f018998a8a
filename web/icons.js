// Icons drawn for this page: 24 × 24, strokes only, so that they take the colour of the text.

const PATHS = {
  ask: 'M4 5.5h16v11H11l-4.5 3.5v-3.5H4z',
  documents: 'M6 3.5h8l4 4v13H6z M14 3.5v4h4 M9 12h6 M9 16h6',
  jobs: 'M12 3.5a8.5 8.5 0 1 0 8.5 8.5 M12 7.5V12l3 2 M16 3.8a8.5 8.5 0 0 1 4.2 4.2',
  lab: 'M12 4v16 M6 20h12 M5 7.5h14 M5 7.5 2.5 14h5z M19 7.5 16.5 14h5z',
  health: 'M3 12.5h4l2.5-6 4 12 2.5-6H21',
  send: 'M5 12h13 M12.5 6.5 18 12l-5.5 5.5',
  stop: 'M7 7h10v10H7z',
  up: 'M7 10.5v9H4v-9z M7 11l4-7c1.6 0 2.4 1 2.1 2.6L12.6 10H19c1 0 1.6.9 1.4 1.8l-1.5 6.2c-.2.9-.9 1.5-1.8 1.5H7',
  down: 'M7 13.5v-9H4v9z M7 13l4 7c1.6 0 2.4-1 2.1-2.6L12.6 14H19c1 0 1.6-.9 1.4-1.8L18.9 6c-.2-.9-.9-1.5-1.8-1.5H7',
  copy: 'M9 9h10.5v10.5H9z M15 9V4.5H4.5V15H9',
  download: 'M12 4v11 M7 10.5l5 5 5-5 M5 20h14',
  upload: 'M12 16V5 M7 9.5l5-5 5 5 M5 20h14',
  why: 'M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17z M9.6 9.6a2.5 2.5 0 1 1 3.6 2.2c-.8.4-1.2.9-1.2 1.9 M12 16.8v.1',
  close: 'M6 6l12 12 M18 6 6 18',
  trash: 'M4.5 7h15 M9.5 7V4.5h5V7 M6.5 7l.8 12.5h9.4L17.5 7 M10 11v5 M14 11v5',
  external: 'M14 4.5h5.5V10 M19.5 4.5 11 13 M17 13.5v6H4.5V7h6',
  search: 'M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13z M15.5 15.5 20 20',
  plus: 'M12 5v14 M5 12h14',
  sun: 'M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8z M12 2.5v2 M12 19.5v2 M2.5 12h2 M19.5 12h2 M5.3 5.3l1.4 1.4 M17.3 17.3l1.4 1.4 M5.3 18.7l1.4-1.4 M17.3 6.7l1.4-1.4',
  moon: 'M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z',
  auto: 'M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17z M12 3.5v17 M12 8h7.4 M12 12h8.4 M12 16h7.4',
  history: 'M4 12a8 8 0 1 0 2.5-5.8L4 8.5 M4 4v4.5h4.5 M12 8v4.5l3 1.8',
  key: 'M8 16.5a4 4 0 1 0 0-8 4 4 0 0 0 0 8z M11.5 11 20 11v3.5 M16.5 11v3',
  info: 'M12 20.5a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17z M12 11v5.5 M12 7.6v.1',
  warn: 'M12 4 21 19.5H3z M12 10v4.5 M12 17v.1',
  check: 'M5 12.5l4.5 4.5L19 7.5',
  partly: 'M4.5 13.5c2.5-4 5-4 7.5-1.5s5 2.5 7.5-1.5',
  bang: 'M12 5v9 M12 18.5v.2',
  refresh: 'M19.5 12a7.5 7.5 0 1 1-2.2-5.3L19.5 9 M19.5 4.5V9H15',
  chevron: 'M9 5.5l6.5 6.5L9 18.5',
  leave: 'M10 4.5H5v15h5 M10 12h9.5 M16 8l4 4-4 4',
};

const SVG = 'http://www.w3.org/2000/svg';

/** A decorative icon: hidden from assistive technology, since its button has a name. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  svg.setAttribute('focusable', 'false');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', PATHS[name]);
  svg.append(path);
  return svg;
}
