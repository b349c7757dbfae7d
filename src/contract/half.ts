/** Conversion to and from IEEE 754 binary16 (f16). Not every JavaScript engine has a Float16Array. */

/** The bits of the nearest f16, ties to even. Values from 65520 on become ∞, values from −65520 down −∞. */
export function toHalf(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size >= 65520) return sign | 0x7c00;
  if (size < 2 ** -14) return sign | roundToEven(size * 2 ** 24); // subnormal, in steps of 2^−24; may round up to the smallest normal number
  const exponent = Math.floor(Math.log2(size) + 2 ** -40); // log2 of a power of 2 may fall a little short
  const scaled = size / 2 ** (exponent - 10); // from 1024 to below 2048
  const [fraction, shift] = scaled < 1024 ? [scaled * 2, -1] : [scaled, 0];
  return sign | ((((exponent + shift + 15) << 10) - 1024 + roundToEven(fraction)) & 0x7fff); // a fraction of 2048 carries into the exponent
}

export function fromHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Rounds a value from 0 to below 2^52, ties to even. From 2^52 on f64 has no fractions, so the addition itself rounds. */
const roundToEven = (value: number): number => value + 2 ** 52 - 2 ** 52;
