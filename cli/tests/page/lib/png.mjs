// Writes a screenshot again with at most 256 colours: a page has few, and the file shrinks by half
// or more.
import zlib from 'node:zlib';

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
const MAX_COLOURS = 256;

function* chunks(png) {
  for (let at = SIGNATURE.length; at < png.length;) {
    const length = png.readUInt32BE(at);
    yield [png.toString('latin1', at + 4, at + 8), png.subarray(at + 8, at + 8 + length)];
    at += length + 12;
  }
}

function paeth(left, up, corner) {
  const [toLeft, toUp, toCorner] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

/** The rows of an 8-bit RGB or RGBA picture without interlacing, which is what Chromium writes. */
function decode(png) {
  const parts = [...chunks(png)];
  const head = parts[0][1];
  const [width, height, colourType] = [head.readUInt32BE(0), head.readUInt32BE(4), head[9]];
  const size = colourType === 6 ? 4 : 3;
  const data = zlib.inflateSync(Buffer.concat(parts.filter(([name]) => name === 'IDAT').map(([, bytes]) => bytes)));
  const stride = width * size;
  const pixels = Buffer.alloc(stride * height);
  for (let row = 0; row < height; row += 1) {
    const filter = data[row * (stride + 1)];
    for (let x = 0; x < stride; x += 1) {
      const at = row * stride + x;
      const left = x >= size ? pixels[at - size] : 0;
      const up = row ? pixels[at - stride] : 0;
      const corner = row && x >= size ? pixels[at - stride - size] : 0;
      const guess = [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter];
      pixels[at] = data[row * (stride + 1) + 1 + x] + guess;
    }
  }
  return { width, height, size, pixels };
}

/**
 * The most frequent colours, then the most frequent one of each corner of the colour space, so that
 * a small icon keeps its colour; and for each colour of the picture the nearest of them.
 */
function palette({ pixels, size }) {
  const counts = new Map();
  for (let at = 0; at < pixels.length; at += size) {
    const colour = (pixels[at] << 16) | (pixels[at + 1] << 8) | pixels[at + 2];
    counts.set(colour, (counts.get(colour) || 0) + 1);
  }
  const corners = new Map();
  const frequent = [...counts].sort((a, b) => b[1] - a[1]);
  for (const [colour, count] of frequent) {
    const corner = corners.get(colour & 0xf0f0f0);
    if (corner) corner.count += count;
    else corners.set(colour & 0xf0f0f0, { colour, count });
  }
  const representative = [...corners.values()].sort((a, b) => b.count - a.count).map(({ colour }) => colour);
  const colours = [...new Set([...frequent.slice(0, MAX_COLOURS / 4).map(([colour]) => colour), ...representative])].slice(0, MAX_COLOURS);
  const nearest = new Map();
  for (const colour of counts.keys()) {
    const distance = (other) => [16, 8, 0].reduce((sum, bits) => sum + (((colour >> bits) & 255) - ((other >> bits) & 255)) ** 2, 0);
    nearest.set(colour, colours.reduce((best, other, index) => (distance(other) < distance(colours[best]) ? index : best), 0));
  }
  return { colours, nearest };
}

function chunk(name, data) {
  const body = Buffer.concat([Buffer.from(name, 'latin1'), data]);
  const length = Buffer.alloc(4);
  const check = Buffer.alloc(4);
  length.writeUInt32BE(data.length);
  check.writeUInt32BE(crc32(body));
  return Buffer.concat([length, body, check]);
}

function crc32(bytes) {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
  }
  return (crc ^ 0xffffffff) >>> 0;
}

export function shrink(png) {
  const picture = decode(png);
  const { width, height, size, pixels } = picture;
  const { colours, nearest } = palette(picture);
  const rows = Buffer.alloc((width + 1) * height);
  for (let row = 0; row < height; row += 1) {
    for (let x = 0; x < width; x += 1) {
      const at = (row * width + x) * size;
      rows[row * (width + 1) + 1 + x] = nearest.get((pixels[at] << 16) | (pixels[at + 1] << 8) | pixels[at + 2]);
    }
  }
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head.set([8, 3, 0, 0, 0], 8);
  const table = Buffer.from(colours.flatMap((colour) => [colour >> 16, (colour >> 8) & 255, colour & 255]));
  return Buffer.concat([SIGNATURE, chunk('IHDR', head), chunk('PLTE', table), chunk('IDAT', zlib.deflateSync(rows, { level: 9 })), chunk('IEND', Buffer.alloc(0))]);
}
