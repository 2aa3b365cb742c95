import type { ReactNode } from "react";

export interface Column<Row> {
  name: string;
  of: (row: Row) => ReactNode;
  /** Figures stand at the right. */
  figure?: boolean;
}

interface Props<Row> {
  label: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  keyOf: (row: Row) => string;
  empty: string;
}

/** Rows under names. On a phone every row is a little list of its own, so nothing runs out of the page. */
export function Table<Row>({ label, columns, rows, keyOf, empty }: Props<Row>) {
  if (rows.length === 0) return <p className="aside">{empty}</p>;
  return (
    <table className="table" aria-label={label}>
      <thead>
        <tr>
          {columns.map(({ name, figure }) => (
            <th key={name} scope="col" className={figure ? "figure" : undefined}>
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={keyOf(row)}>
            {columns.map(({ name, of, figure }) => (
              <td key={name} data-name={name} className={figure ? "figure" : undefined}>
                {of(row)}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
