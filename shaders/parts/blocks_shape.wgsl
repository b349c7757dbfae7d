// blocks_shape: invocations of a tile of 4 × 4 blocks.

const SIZE_Y: u32 = TILE_N / (4 * ROWS);
const_assert ((ROWS <= 2 || ROWS == 4) && (COLS <= 2 || COLS == 4)); // in brackets: Firefox 153 ends the expression at the first closing one
