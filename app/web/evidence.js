// What each place of a photo says for a class: turned upright, drawn as a map, and put into words.

const FOR = [230, 120, 0]; // orange and blue stay apart for people who see no difference between red and green
const AGAINST = [0, 100, 220];
const STRENGTH = 0.7; // how much of a pixel the strongest evidence covers
const EVEN = 0.8; // evidence that is more even than this, where 1 is the same at each place, is called spread over the image
const OFF_CENTRE = 0.2; // of the way from the centre to an edge: what is nearer is called central
const MIDDLE = 0.6; // of the same way: how far around the centre central evidence is looked for
const NAMES = [
  ["in the upper left", "above the centre", "in the upper right"],
  ["left of the centre", "in the centre", "right of the centre"],
  ["in the lower left", "below the centre", "in the lower right"],
];

const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);

/** The values of an `evidence` as the photo is shown, row by row; the answer has them as the pixels lie in the file. */
export function upright({ rows, columns, values, box: { orientation } }) {
  const turned = orientation > 4;
  const fromBelow = [3, 4, 6, 7].includes(orientation);
  const fromRight = [2, 3, 7, 8].includes(orientation);
  return grid(turned ? columns : rows, turned ? rows : columns, (row, column) => {
    const [y, x] = turned ? [column, row] : [row, column];
    return values[fromBelow ? rows - 1 - y : y][fromRight ? columns - 1 - x : x];
  });
}

const grid = (rows, columns, at) =>
  Array.from({ length: rows }, (_, row) => Array.from({ length: columns }, (_, column) => at(row, column)));

/** Draw values over all of a canvas: orange for, blue against, and nothing where they say little. */
export function draw(canvas, values) {
  const { width, height } = canvas;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const most = Math.max(...values.flat().map(Math.abs), 1e-9);
  smooth(values, width, height).flat().forEach((value, pixel) => {
    const share = Math.max(-1, Math.min(1, value / most));
    image.data.set([...(share > 0 ? FOR : AGAINST), Math.round(255 * STRENGTH * Math.abs(share))], 4 * pixel);
  });
  context.putImageData(image, 0, 0);
}

/** Values for each pixel between the places, by cubic interpolation along both sides. */
export function smooth(values, width, height) {
  const across = steps(values[0].length, width);
  const rows = values.map((row) => across.map((parts) => mixed(parts, (index) => row[index])));
  return steps(values.length, height).map((parts) => across.map((_, x) => mixed(parts, (index) => rows[index][x])));
}

const mixed = (parts, at) => sum(parts.map(([index, weight]) => weight * at(index)));

/** For each of `length` pixels in a row over `count` places: the places that it is near, and the weight of each. */
function steps(count, length) {
  return Array.from({ length }, (_, pixel) => {
    const centre = ((pixel + 0.5) * count) / length - 0.5;
    const near = [-1, 0, 1, 2].map((step) => Math.floor(centre) + step).filter((index) => index >= 0 && index < count);
    const weights = near.map((index) => cubic(Math.abs(index - centre)));
    return near.map((index, which) => [index, weights[which] / sum(weights)]);
  });
}

/** The weight of a value at a distance from its place (Keys 1981, with a = −0.5). */
function cubic(distance) {
  if (distance < 1) return (1.5 * distance - 2.5) * distance ** 2 + 1;
  return distance < 2 ? ((-0.5 * distance + 2.5) * distance - 4) * distance + 2 : 0;
}

/** Where the evidence for a class is, as a sentence; the values are upright. */
export function sentence(values, label) {
  const spots = weighted(values);
  if (!spots.length) return `Nothing in the image speaks for ${label}.`;
  const concentration = values.flat().length * sum(spots.map(({ weight }) => weight ** 2));
  if (1 / concentration > EVEN) return `The evidence for ${label} is spread over all of the image.`;
  const [x, y] = ["x", "y"].map((axis) => side(sum(spots.map((spot) => spot.weight * spot[axis].at))));
  const place = NAMES[y + 1][x + 1];
  if (within(spots, x, y) < 0.5) return `The evidence for ${label} is scattered; on balance it is ${place}.`;
  return `Most of the evidence for ${label} is ${place}.`;
}

const side = (offset) => (Math.abs(offset) > OFF_CENTRE ? Math.sign(offset) : 0);

/** The places that speak for the class: their share of it, where they are from −1 (left or above) to 1, and half their size. */
function weighted(values) {
  const spot = (index, count) => ({ at: (2 * index + 1) / count - 1, reach: 1 / count });
  const all = values.flatMap((row, y) =>
    row.map((value, x) => ({ weight: value, x: spot(x, row.length), y: spot(y, values.length) })),
  );
  const positive = all.filter(({ weight }) => weight > 0);
  const total = sum(positive.map(({ weight }) => weight));
  return positive.map((one) => ({ ...one, weight: one.weight / total }));
}

/** The share of the evidence on these sides of the centre: −1 left or above, 1 right or below, 0 around it. */
function within(spots, x, y) {
  const range = (sign, other) => (sign ? [Math.min(0, sign), Math.max(0, sign)] : other ? [-1, 1] : [-MIDDLE, MIDDLE]);
  return sum(spots.map((spot) => spot.weight * overlap(spot.x, range(x, y)) * overlap(spot.y, range(y, x))));
}

const overlap = ({ at, reach }, [low, high]) =>
  Math.max(0, Math.min(at + reach, high) - Math.max(at - reach, low)) / (2 * reach);
