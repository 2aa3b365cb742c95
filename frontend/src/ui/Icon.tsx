const PATHS = {
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4 4l8 8M12 4l-8 8",
  copy: "M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z",
  plus: "M8 3v10M3 8h10",
  menu: "M2.5 4.5h11M2.5 8h11M2.5 11.5h11",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  send: "M8 13V3.5M3.5 8L8 3.5 12.5 8",
  stop: "M4 4h8v8H4z",
  down: "M8 3v10M3.5 8.5L8 13l4.5-4.5",
  sun: "M8 5.2a2.8 2.8 0 100 5.6 2.8 2.8 0 000-5.6zM8 1.2v1.6M8 13.2v1.6M1.2 8h1.6M13.2 8h1.6M3.2 3.2l1.1 1.1M11.7 11.7l1.1 1.1M12.8 3.2l-1.1 1.1M4.3 11.7l-1.1 1.1",
  moon: "M13 9.7A5.6 5.6 0 016.3 3 5.6 5.6 0 1013 9.7z",
  system: "M2 3h12v8H2zM6 13.5h4",
  warn: "M8 2.2l6.3 11.3H1.7zM8 6.5v3.2M8 11.6h.01",
  clock: "M8 2a6 6 0 100 12A6 6 0 008 2zM8 4.8V8l2.2 1.6",
  pencil: "M10.8 2.7l2.5 2.5-8 8-3 .5.5-3z",
  trash: "M3 4.5h10M6 4.5v-2h4v2M4.5 4.5l.6 9h5.8l.6-9",
  restart: "M12.8 6.2A5.2 5.2 0 103 9.3M13 2.5v3.7H9.3",
  file: "M4 1.8h5l3 3v9.4H4zM9 1.8v3h3",
  dash: "M3.5 8h9",
} as const;

export type IconName = keyof typeof PATHS | "live";

/** A drawing of 1 em, always beside words (or named by its button), so hidden from screen readers. */
export function Icon({ name }: { name: IconName }) {
  if (name === "live") return <i className="icon spin" aria-hidden="true" />;
  return (
    <svg className={`icon icon-${name}`} viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name]} />
    </svg>
  );
}
