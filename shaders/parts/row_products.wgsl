// row_products: products of the rows that an invocation holds with four others, in lines: constants index the arrays.
// Parts: quad_step, row_gradient.

/// Adds one vec4's part of q kᵀ.
fn add_scores_vec(sums: ptr<function, array<vec4f, 4>>, tile: ptr<function, Tile>, own: ptr<function, Vector>, vec: u32) {
  let shuffled = shuffle((*own)[vec]);
  (*sums)[0] = add_dots((*sums)[0], (*tile)[vec], shuffled);
  if (ROWS > 1) {
    (*sums)[1] = add_dots((*sums)[1], (*tile)[WIDTH + vec], shuffled);
  }
  if (ROWS > 2) {
    (*sums)[2] = add_dots((*sums)[2], (*tile)[2 * WIDTH + vec], shuffled);
    (*sums)[3] = add_dots((*sums)[3], (*tile)[3 * WIDTH + vec], shuffled);
  }
}

fn add_scores_block(sums: ptr<function, array<vec4f, 4>>, tile: ptr<function, Tile>, own: ptr<function, Vector>, block: u32) {
  add_scores_vec(sums, tile, own, 4 * block);
  add_scores_vec(sums, tile, own, 4 * block + 1);
  add_scores_vec(sums, tile, own, 4 * block + 2);
  add_scores_vec(sums, tile, own, 4 * block + 3);
}

fn add_scores_blocks(sums: ptr<function, array<vec4f, 4>>, tile: ptr<function, Tile>, own: ptr<function, Vector>, first: u32) {
  add_scores_block(sums, tile, own, first);
  if (D_BLOCKS > 1) {
    add_scores_block(sums, tile, own, first + 1);
  }
  if (D_BLOCKS > 2) {
    add_scores_block(sums, tile, own, first + 2);
    add_scores_block(sums, tile, own, first + 3);
  }
}

fn add_scores(sums: ptr<function, array<vec4f, 4>>, tile: ptr<function, Tile>, own: ptr<function, Vector>) {
  add_scores_blocks(sums, tile, own, 0);
  if (D_BLOCKS > 4) {
    add_scores_blocks(sums, tile, own, 4);
  }
  if (D_BLOCKS > 8) {
    add_scores_blocks(sums, tile, own, 8);
    add_scores_blocks(sums, tile, own, 12);
  }
}

/// The same of dO vᵀ.
fn add_products_vec(sums: ptr<function, array<vec4f, 4>>, tile: ptr<function, ValueTile>, own: ptr<function, ValueVector>, vec: u32) {
  let shuffled = shuffle((*own)[vec]);
  (*sums)[0] = add_dots((*sums)[0], (*tile)[vec], shuffled);
  if (ROWS > 1) {
    (*sums)[1] = add_dots((*sums)[1], (*tile)[V_WIDTH + vec], shuffled);
  }
  if (ROWS > 2) {
    (*sums)[2] = add_dots((*sums)[2], (*tile)[2 * V_WIDTH + vec], shuffled);
    (*sums)[3] = add_dots((*sums)[3], (*tile)[3 * V_WIDTH + vec], shuffled);
  }
}

fn add_products_block(sums: ptr<function, array<vec4f, 4>>, tile: ptr<function, ValueTile>, own: ptr<function, ValueVector>, block: u32) {
  add_products_vec(sums, tile, own, 4 * block);
  add_products_vec(sums, tile, own, 4 * block + 1);
  add_products_vec(sums, tile, own, 4 * block + 2);
  add_products_vec(sums, tile, own, 4 * block + 3);
}

fn add_products_blocks(sums: ptr<function, array<vec4f, 4>>, tile: ptr<function, ValueTile>, own: ptr<function, ValueVector>, first: u32) {
  add_products_block(sums, tile, own, first);
  if (DV_BLOCKS > 1) {
    add_products_block(sums, tile, own, first + 1);
  }
  if (DV_BLOCKS > 2) {
    add_products_block(sums, tile, own, first + 2);
    add_products_block(sums, tile, own, first + 3);
  }
}

fn add_products(sums: ptr<function, array<vec4f, 4>>, tile: ptr<function, ValueTile>, own: ptr<function, ValueVector>) {
  add_products_blocks(sums, tile, own, 0);
  if (DV_BLOCKS > 4) {
    add_products_blocks(sums, tile, own, 4);
  }
  if (DV_BLOCKS > 8) {
    add_products_blocks(sums, tile, own, 8);
    add_products_blocks(sums, tile, own, 12);
  }
}
