// row_end: the end of a row's online softmax: the sink, what out is multiplied by, and the log-sum-exp.
// Parts: excluded, logarithm, ratio.

struct RowEnd {
  factor: f32, // of the row of out; 0 where the row sees neither key nor sink
  lse: f32,
}

/// @param largest of the row's scores @param sum of its weights, relative to exp(largest)
fn row_end(largest: f32, sum: f32, h: u32) -> RowEnd {
  var shift = largest;
  var total = sum;
  var rescale = 1.0;
  if (params.has_sinks != 0) {
    let sink = heads[params.heads_offset + h * params.heads_row + params.heads_row - 1];
    shift = max(largest, sink);
    rescale = ratio(largest, shift);
    total = sum * rescale + ratio(sink, shift);
  }
  if (total == 0.0) {
    return RowEnd(0.0, LOWEST);
  }
  return RowEnd(rescale / total, shift + logarithm(total));
}
