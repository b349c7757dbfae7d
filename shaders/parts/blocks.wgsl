// blocks: a tile in blocks of 4 × 4 sums, of which an invocation holds ROWS × COLS.

const SIZE_Y: u32 = TILE_N / (4 * ROWS);
const_assert ((ROWS <= 2 || ROWS == 4) && (COLS <= 2 || COLS == 4)); // in brackets: Firefox 153 ends the expression at the first closing one

alias Sums = array<mat4x4f, ROWS * COLS>; // [ROWS][COLS]
alias Columns = array<vec4f, COLS>; // COLS blocks of a row of four, SIZE_X blocks apart
