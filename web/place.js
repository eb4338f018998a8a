// Where a passage stands, in words.

import { t } from './i18n.js';

/** `rh/conges.docx › Congés payés › p. 3` */
export function placeOf({ document: path, title, heading, page }) {
  const headings = heading ? heading.split(' > ') : [];
  // The title stands beside the place already.
  if (headings[0] === title) headings.shift();
  const place = page ? [t('pageShort', { page })] : [];
  return [path, ...headings, ...place].filter(Boolean).join(' › ');
}
