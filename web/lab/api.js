// What the views of evaluation and training ask of the server.

import { BASE, json, part, post, query } from '../api.js';

export const openMatch = (question) => post('v1/arena', { question });
export const vote = (id, body) => post(`v1/arena/${part(id)}/vote`, body);
export const ratings = () => json('v1/arena/ratings');

export const comparisons = () => json('v1/comparisons');
export const comparison = (id) => json(`v1/comparisons/${part(id)}`);

/** A comparison's report as a file: `html` or `md`. */
export const reportUrl = (id, form, language) =>
  `${BASE}v1/comparisons/${part(id)}/report.${form}${query({ language })}`;

export const datasets = () => json('v1/datasets').then((it) => it.data);
export const rows = (id, fields) => json(`v1/datasets/${part(id)}/rows${query(fields)}`);
export const decide = (id, row, body) => post(`v1/datasets/${part(id)}/rows/${part(row)}`, body);

export const adapters = () => json('v1/adapters').then((it) => it.data);

export const runs = () => json('v1/runs').then((it) => it.data);
export const run = (name) => json(`v1/runs/${part(name)}`);
