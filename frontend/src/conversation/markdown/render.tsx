import type { ReactNode } from "react";
import { CodeBlock } from "../../ui/CodeBlock";
import { Tex } from "../../ui/Tex";
import type { MathToken, Token, Tokens } from "./lexer";

/** One block token as elements. HTML in Markdown is shown as text: what a model writes is never markup of this page. */
export function BlockView({ token, settled }: { token: Token; settled: boolean }): ReactNode {
  switch (token.type) {
    case "heading":
      return heading(token as Tokens.Heading);
    case "paragraph":
      return <p>{inlines(token.tokens)}</p>;
    case "code":
      return code(token as Tokens.Code, settled);
    case "list":
      return list(token as Tokens.List, settled);
    case "table":
      return table(token as Tokens.Table);
    case "blockquote":
      return <blockquote>{blocks(token.tokens, settled)}</blockquote>;
    case "hr":
      return <hr />;
    case "math":
      return <Tex tex={(token as MathToken).tex} display />;
    case "text":
      return token.tokens ? inlines(token.tokens) : token.raw;
    case "html":
      return <p>{token.raw}</p>;
    case "space":
    case "def":
    case "checkbox":
      return null;
    default:
      return token.raw;
  }
}

function blocks(tokens: Token[] | undefined, settled: boolean): ReactNode {
  return tokens?.map((token, at) => <BlockView key={at} token={token} settled={settled} />);
}

function heading({ depth, tokens }: Tokens.Heading): ReactNode {
  const Tag = (["h3", "h3", "h4", "h5"] as const)[depth - 1] ?? "h6";
  return <Tag>{inlines(tokens)}</Tag>;
}

function code({ text, lang }: Tokens.Code, settled: boolean): ReactNode {
  return <CodeBlock code={text} language={lang?.split(/\s/)[0] ?? ""} settled={settled} />;
}

function list({ ordered, start, items, loose }: Tokens.List, settled: boolean): ReactNode {
  const Tag = ordered ? "ol" : "ul";
  return (
    <Tag start={ordered && start !== "" ? start : undefined} className={loose ? "loose" : undefined}>
      {items.map((item, at) => (
        <li key={at} className={item.task ? "task" : undefined}>
          {item.task && <input type="checkbox" checked={item.checked === true} disabled readOnly aria-label="task" />}
          {blocks(item.tokens, settled)}
        </li>
      ))}
    </Tag>
  );
}

function table({ header, rows, align }: Tokens.Table): ReactNode {
  const at = (column: number) => (align[column] ? { textAlign: align[column] } : undefined);
  return (
    <div className="table-scroll" role="region" aria-label="Table" tabIndex={0}>
      <table>
        <thead>
          <tr>
            {header.map((cell, c) => (
              <th key={c} scope="col" style={at(c)}>
                {inlines(cell.tokens)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, r) => (
            <tr key={r}>
              {row.map((cell, c) => (
                <td key={c} style={at(c)}>
                  {inlines(cell.tokens)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inlines(tokens: Token[] | undefined): ReactNode {
  return tokens?.map((token, at) => <Inline key={at} token={token} />);
}

function Inline({ token }: { token: Token }): ReactNode {
  switch (token.type) {
    case "strong":
      return <strong>{inlines(token.tokens)}</strong>;
    case "em":
      return <em>{inlines(token.tokens)}</em>;
    case "del":
      return <del>{inlines(token.tokens)}</del>;
    case "codespan":
      return <code>{(token as Tokens.Codespan).text}</code>;
    case "br":
      return <br />;
    case "link":
      return link(token as Tokens.Link);
    case "image":
      return image(token as Tokens.Image);
    case "math":
      return <Tex tex={(token as MathToken).tex} display={(token as MathToken).display} />;
    case "html":
      return /^<br\s*\/?>$/i.test(token.raw) ? <br /> : token.raw;
    case "escape":
      return (token as Tokens.Escape).text;
    case "text":
      return token.tokens ? inlines(token.tokens) : (token as Tokens.Text).text;
    default:
      return token.raw;
  }
}

const SAFE_LINK = /^(https?:|mailto:)/i;

function link({ href, title, tokens }: Tokens.Link): ReactNode {
  if (!SAFE_LINK.test(href)) return inlines(tokens);
  return (
    <a href={href} title={title ?? undefined} target="_blank" rel="noopener noreferrer">
      {inlines(tokens)}
    </a>
  );
}

/** Only pictures carried in the text itself: loading one from elsewhere would tell that place what is read here. */
function image({ href, text }: Tokens.Image): ReactNode {
  if (/^data:image\/(png|jpeg|gif|webp);/i.test(href)) return <img src={href} alt={text} />;
  return SAFE_LINK.test(href) ? (
    <a href={href} target="_blank" rel="noopener noreferrer">
      {text || href}
    </a>
  ) : (
    text
  );
}
