// What went wrong, in the reader's language where the page knows more than the server's words.

import { ApiError } from './api.js';
import { t } from './i18n.js';

export function describe(error) {
  if (error instanceof ApiError) {
    if (error.code === 'index_unavailable') return t('errorIndexAway');
    if (error.code === 'reads_only') return t('errorReadsOnly');
    if (error.status === 429 || error.status === 503) {
      const seconds = Number(error.retryAfter);
      return seconds > 0 ? t('errorBusyRetry', { seconds }) : t('errorBusy');
    }
    if (error.status === 401) return t('errorKey');
    if (error.status === 403) return `${t('errorForbidden')} (${error.message})`;
    if (error.status === 413) return `${t('errorTooLarge')} (${error.message})`;
    if (error.status >= 500) return `${t('errorServer')} (${error.message})`;
    return error.message;
  }
  // fetch says no more than this, whatever the reason.
  if (error instanceof TypeError) return t('errorNetwork');
  return error.message;
}
