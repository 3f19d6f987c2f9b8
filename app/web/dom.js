// Elements, numbers and shapes: what every part of the page is made with.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const html = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
export const svg = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

/** A bar that fills a share, 0 to 1, of its place. Set by script: the page's policy allows no inline style. */
export function bar(share, kind = "") {
  const fill = html("span", { class: `fill ${kind}` });
  fill.style.width = `${Math.min(1, share) * 100}%`;
  return html("span", { class: "bar", "aria-hidden": "true" }, fill);
}

export const integer = (value) => value.toLocaleString("en");
export const percent = (share, digits = 1) =>
  share > 0 && share < 0.0005 ? "<\u00a00.1\u00a0%" : `${(share * 100).toFixed(digits)}\u00a0%`;
export const milliseconds = (ms) => `${ms.toFixed(ms < 10 ? 2 : 1)}\u00a0ms`;
export const times = (ratio) => `${ratio.toFixed(ratio < 10 ? 2 : 1)}\u00a0×`;

/** 76524800 -> "76.5 M". */
export function short(value) {
  for (const [size, sign] of [[1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return `${Number((value / size).toPrecision(3))}\u00a0${sign}`;
  }
  return String(value);
}

export const shape = ([height, width, channels]) => `${height} × ${width} × ${channels}`;

/** A table of rows of cells; the first cell of a row is its heading. */
export function table(headings, rows, caption) {
  return html(
    "table",
    {},
    html("caption", { class: "hidden" }, caption),
    html("thead", {}, html("tr", {}, headings.map((heading) => html("th", { scope: "col" }, heading)))),
    html(
      "tbody",
      {},
      rows.map(([first, ...rest]) =>
        html("tr", {}, html("th", { scope: "row" }, first), rest.map((cell) => html("td", {}, cell))),
      ),
    ),
  );
}

/** Radio buttons that look like one switch; `choose` gets the value that is chosen. */
export function choices(fieldset, name, options, chosen, choose) {
  const legend = fieldset.querySelector("legend");
  const labels = options.map(([value, text]) =>
    html(
      "label",
      { class: "choice" },
      html("input", {
        type: "radio",
        name,
        value,
        checked: value === chosen,
        onchange: () => choose(value),
      }),
      html("span", {}, text),
    ),
  );
  fieldset.replaceChildren(legend, html("div", { class: "choices" }, labels));
}

/** Let the arrow keys walk over the marks of a chart, of which one is a tab stop; `read` gets the mark's index. */
export function walkable(marks, read) {
  marks.forEach((mark, index) => {
    mark.setAttribute("tabindex", index === 0 ? "0" : "-1");
    mark.addEventListener("pointerenter", () => read(index));
    mark.addEventListener("focus", () => read(index));
    mark.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const next = marks[index + (step ?? 0)];
      if (!step || !next) return;
      event.preventDefault();
      mark.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  });
}

/** Draw now and whenever the width of the place changes, so that letters keep their size. */
export function drawn(place, draw) {
  let width = 0;
  const redraw = () => {
    if (place.clientWidth === width || !place.clientWidth) return;
    width = place.clientWidth;
    draw(width);
  };
  new ResizeObserver(redraw).observe(place);
  return () => {
    width = 0;
    redraw();
  };
}
