// Finds the differences between two normalised values, and settles them with tests/differences.toml.

import { parse } from 'smol-toml';

/** Every difference as `{path, reference, tested}`. A member that one side lacks has `undefined` there. */
export function differences(reference, tested, path = '') {
  if (isObject(reference) && isObject(tested)) {
    const found = [];
    for (const key of new Set([...Object.keys(reference), ...Object.keys(tested)])) {
      found.push(...differences(reference[key], tested[key], path ? `${path}.${key}` : key));
    }
    // Clients must not depend on the order of members, byte comparisons do: one row when all else is equal.
    if (found.length === 0 && Object.keys(reference).join() !== Object.keys(tested).join()) {
      found.push({ path: `${path}.{order}`, reference: Object.keys(reference).join(), tested: Object.keys(tested).join() });
    }
    return found;
  }
  if (Array.isArray(reference) && Array.isArray(tested)) {
    const found = [];
    for (let i = 0; i < Math.max(reference.length, tested.length); i++) {
      found.push(...differences(reference[i], tested[i], `${path}[${i}]`));
    }
    return found;
  }
  return Object.is(reference, tested) ? [] : [{ path, reference, tested }];
}

const isObject = (value) => value !== null && typeof value === 'object' && !Array.isArray(value);

const reasons = ['version', 'fix', 'ours'];

/** Reads differences.toml: rows of `request`, `path`, `reason`, `reference`. A bad row is an error that names it. */
export function readDifferences(text) {
  const rows = parse(text).difference ?? [];
  rows.forEach((row, i) => {
    for (const member of ['request', 'path', 'reason', 'reference']) {
      if (typeof row[member] !== 'string' || row[member] === '') {
        throw new Error(`differences.toml: row ${i + 1} (${row.request ?? 'no request'}): ${member} is missing`);
      }
    }
    if (!reasons.includes(row.reason)) {
      throw new Error(`differences.toml: row ${i + 1} (${row.request}): reason is ${row.reason}, not one of ${reasons.join(', ')}`);
    }
  });
  return rows;
}

/** `*` stands for any text. */
const matches = (pattern, text) =>
  new RegExp(`^${pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&')).join('.*')}$`, 's').test(text);

/** The rows of differences.toml, which remember whether anything needed them. */
export class Explanations {
  constructor(rows) {
    this.rows = rows.map((row) => ({ ...row, used: 0 }));
  }

  /** Those of the differences that no row explains. */
  unexplained(request, found) {
    return found.filter((difference) => {
      const rows = this.rows.filter((row) => matches(row.request, request) && matches(row.path, difference.path));
      for (const row of rows) row.used += 1;
      return rows.length === 0;
    });
  }

  /** The rows that nothing needed. */
  unneeded() {
    return this.rows.filter((row) => row.used === 0);
  }
}
