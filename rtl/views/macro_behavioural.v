// Behavioural view of the CIM macro: the same ports and the same cycles as the structural view (rtl/macro.py),
// written to simulate fast. Plain Verilog-2001. A template: `behavioural_verilog` in rtl/macro.py fills in the
// names between at signs and repeats the lines of a fill port.
//
// Why it is fast: a step does its whole dot product in the cycle of its last bit plane; an idle macro only tests
// its enables; the inner loop walks weights and accumulators of one granule row contiguously, in a local buffer
// that the C compiler can vectorise, so it stays a loop; everything that selects bits of wide buses is
// unrolled into constant selects. Depths are powers of two, so that no index needs a bounds check.
module blockcim_macro (
@PORTS@
);
  localparam integer G = @G@;    // row groups
  localparam integer H = @H@;    // column groups
  localparam integer B = @B@;    // granule
  localparam integer S = @S@;    // slots of a fill or a drain
  localparam integer AB = @AB@;  // act_bits
  localparam integer WB = @WB@;  // weight_bits
  localparam integer GW = @GW@;  // bits of a row group number
  localparam integer ACC = @ACC@;  // accumulator bits
  localparam integer LAST = @LAST@;  // last plane of a step

  // weight[((h * G + g) * B + e) * B + c]: granule by granule; row[bank * G + g]; acc[(bank * H + h) * B + c]
  reg signed [WB-1:0] weight [0:@WEIGHT_DEPTH@-1];
  reg [B*AB-1:0] row [0:@ROW_DEPTH@-1];
  reg signed [31:0] acc [0:@ACC_DEPTH@-1];  // 32 bits wide, of which ACC are read: wraps alike
  reg [S*H*32-1:0] q_next;  // always equal to q

  integer h, g, e, c, s, from, to;
  reg [B*AB-1:0] slice;
  reg [G-1:0] used;
  reg signed [31:0] x [0:@X_DEPTH@-1];
  reg signed [31:0] sum [0:@X_DEPTH@-1];
  reg signed [31:0] value;

  initial begin
    for (from = 0; from < G * H * B * B; from = from + 1) weight[from] = 0;
    for (from = 0; from < 2 * G; from = from + 1) row[from] = 0;
    for (from = 0; from < 2 * H * B; from = from + 1) acc[from] = 0;
    q_next = 0;
    q = 0;
  end

  always @(posedge clk) begin
    // Drain, pass, fill, write: every reader comes before the writer of what it reads.
    if (drain_en) begin
      for (s = 0; s < S; s = s + 1)
        if (s < drain_pieces)
          for (h = 0; h < H; h = h + 1) begin
            value = 0;
            if (drain_col + s < B) value = acc[(drain_bank * H + h) * B + drain_col + s];
            value = {{(32 - ACC){value[ACC-1]}}, value[ACC-1:0]};
            if (drain_add) value = value + chain_in[(s * H + h) * 32 +: 32];
            q_next[(s * H + h) * 32 +: 32] = value;
          end
      q <= q_next;
    end

    if (pass_en && pass_plane == LAST) begin
      for (h = 0; h < H; h = h + 1)
        if (pass_mask[h]) begin
          to = (acc_bank * H + h) * B;
          for (c = 0; c < B; c = c + 1) sum[c] = pass_clear ? 0 : acc[to + c];
          used = @USED@;
          for (g = 0; g < G; g = g + 1)
            if (used[g]) begin
              slice = row[pass_bank * G + g];
              for (e = 0; e < B; e = e + 1) x[e] = $signed(slice[e * AB +: AB]);
              for (e = 0; e < B; e = e + 1) begin
                from = ((h * G + g) * B + e) * B;
                for (c = 0; c < B; c = c + 1) sum[c] = sum[c] + x[e] * weight[from + c];
              end
            end
          for (c = 0; c < B; c = c + 1) acc[to + c] = sum[c];
        end
    end

    // @each fill port@
    if (|fill@K@_valid)
      for (s = 0; s < S; s = s + 1)
        if (fill@K@_valid[s]) begin
          to = fill_bank * G + fill@K@_group[s * GW +: GW];
          if (&fill@K@_mask[s * B +: B]) row[to] = fill@K@_data[s * B * AB +: B * AB];
          else begin
            slice = row[to];
            for (e = 0; e < B; e = e + 1)
              if (fill@K@_mask[s * B + e]) slice[e * AB +: AB] = fill@K@_data[(s * B + e) * AB +: AB];
            row[to] = slice;
          end
        end
    // @end@
    if (w_en) begin
      to = (w_group * G * B + w_row) * B;
      for (c = 0; c < B; c = c + 1) weight[to + c] = w_data[c * WB +: WB];
    end
  end
endmodule
