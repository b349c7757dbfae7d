// row_end: the end of a row's online softmax: the sink, what out is multiplied by, and the log-sum-exp.
// Parts: excluded, logarithm, ratio.

struct RowEnd {
  factor: f32, // of the row of out; 0 where the row sees neither key nor sink
  lse: f32,
}

/// @param reference a score, mostly the row's largest @param sum of the row's weights, relative to exp(reference)
fn row_end(reference: f32, sum: f32, h: u32) -> RowEnd {
  var shift = reference;
  var total = sum;
  var rescale = 1.0;
  if (params.has_sinks != 0) {
    let sink = heads[params.heads_offset + h * params.heads_row + params.heads_row - 1];
    shift = max(reference, sink);
    rescale = ratio(reference, shift);
    total = sum * rescale + ratio(sink, shift);
  }
  if (total == 0.0) {
    return RowEnd(0.0, LOWEST);
  }
  return RowEnd(rescale / total, shift + logarithm(total));
}
