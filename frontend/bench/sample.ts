const SECTION = `## What the data says

The **South** grew fastest, by *35.6 %*, while the other regions stayed within \`±5 %\` of the year before. That is $3.2\\sigma$ above the
mean of the last ten years, so it is unlikely to be chance alone; a look at the single products shows where it came from.

- The new line brought **1.2 M** in its first two quarters, most of it from customers who had bought nothing before.
- Prices rose by 4 % in spring, which explains about a tenth of it; see [the note](https://example.org/note).
- Returns fell, as \`returns.csv\` shows:
  1. from 3.1 % to 2.4 % in the shops,
  2. from 7.9 % to 6.0 % elsewhere.

| Region | 2024 | 2025 | growth |
|:-------|-----:|-----:|-------:|
| South | 1,204,880 | 1,633,410 | +35.6 % |
| North | 2,010,332 | 2,384,120 | +18.6 % |
| West | 1,877,041 | 1,940,556 | +3.4 % |

\`\`\`python
def growth(frame, by="Region"):
    """Growth of the revenue from one year to the next."""
    table = frame.pivot_table(index=by, columns="Year", values="Revenue", aggfunc="sum")
    table["growth"] = table[2025] / table[2024] - 1
    return table.sort_values("growth", ascending=False)
\`\`\`

> Growth alone says little about profit; the margin of the new line is not known yet.

$$\\hat{g} = \\frac{1}{n} \\sum_{i=1}^{n} \\left( \\frac{r_{i,2025}}{r_{i,2024}} - 1 \\right)$$

`;

/** An answer of `size` characters, with a bit of everything that answers are made of. */
export function answer(size: number): string {
  return SECTION.repeat(Math.ceil(size / SECTION.length)).slice(0, size);
}
