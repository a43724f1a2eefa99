// Behavioural view of the CIM macro: same ports and same cycles as the structural view, written to simulate fast.
// Plain Verilog-2001. This is a template: rtl/macro.py puts in the names between at signs and repeats the lines of
// a fill port.
//
// Why it is fast: a step does its whole dot product in the cycle of its last bit plane; an idle macro only tests its
// enables; the inner loop walks one row of a granule, weights as unsigned bytes and sums, contiguously, which a
// C compiler turns into vector instructions as long as it stays a loop with an unsigned counter; selects of wide
// buses are unrolled into constant ones. Memory depths are powers of two, so that no index needs a bounds check.
/* verilator lint_off UNUSEDSIGNAL */  // rst and id are there for the sake of both views
module blockcim_macro (
@PORTS@
);
  // Loop counters are 32 bits wide and index everything.
  /* verilator lint_off WIDTH */
  // State is written with blocking assignments, after all its readers, in the one process that uses it.
  /* verilator lint_off BLKSEQ */
  localparam G = @G@;        // row groups
  localparam H = @H@;        // column groups
  localparam B = @B@;        // granule
  localparam S = @S@;        // slots of a fill or a drain
  localparam AB = @ACT_BITS@;
  localparam WB = @WEIGHT_BITS@;
  localparam ACC = @ACC_BITS@;
  localparam GW = @GROUP_BITS@;  // bits of a row group number
  localparam LAST = @PLANES@ - 1;
  localparam [31:0] HALF = 1 << (WB - 1);

  reg [WB-1:0] weight [0:@ROWS_DEPTH@-1][0:@COL_DEPTH@-1];        // [(h * G + g) * B + e][c]
  reg [B*AB-1:0] row [0:@SLICES_DEPTH@-1];                        // [bank * G + g]
  reg signed [31:0] acc [0:@GROUPS_DEPTH@-1][0:@COL_DEPTH@-1];    // [bank * H + h][c], of which ACC bits count
  reg [S*H*32-1:0] q_next;                                        // always equal to q

  reg [31:0] h, g, e, c, s, n;
  reg [B*AB-1:0] slice;
  reg [G-1:0] used;
  reg signed [31:0] x [0:@COL_DEPTH@-1];
  reg signed [31:0] sum [0:@COL_DEPTH@-1];
  reg signed [31:0] value;

  initial begin
    /* verilator unroll_disable */
    for (n = 0; n < G * H * B; n = n + 1) begin
      /* verilator unroll_disable */
      for (c = 0; c < B; c = c + 1) weight[n][c] = 0;
    end
    /* verilator unroll_disable */
    for (n = 0; n < 2 * G; n = n + 1) row[n] = 0;
    /* verilator unroll_disable */
    for (n = 0; n < 2 * H; n = n + 1) begin
      /* verilator unroll_disable */
      for (c = 0; c < B; c = c + 1) acc[n][c] = 0;
    end
    q_next = 0;
    q = 0;
  end

`ifndef SYNTHESIS
  // Back door: +weights=FILE holds rows * cols bytes a tile, one byte a weight, row by row.
  reg [8*512-1:0] path;
  reg [7:0] bytes [0:H*B-1];
  reg loaded;
  integer file, got;
  initial loaded = 0;

  // No messages: they carry the instance name, and Verilator then cannot share the code between instances.
  task load_weights;
    begin
      file = $fopen(path, "rb");
      if (file == 0) $finish;
      got = $fseek(file, id * G * B * H * B, 0);
      /* verilator unroll_disable */
      for (n = 0; n < G * B; n = n + 1) begin
        got = $fread(bytes, file);  // not in the condition: Verilator hoists it out of the loop there
        if (got != H * B) $finish;
        /* verilator unroll_disable */
        for (h = 0; h < H; h = h + 1) begin
          /* verilator unroll_disable */
          for (c = 0; c < B; c = c + 1) weight[h * G * B + n][c] = bytes[h * B + c][WB-1:0];
        end
      end
      $fclose(file);
    end
  endtask
`endif

  always @(posedge clk) begin
`ifndef SYNTHESIS
    if (!loaded) begin
      loaded = 1;
      if ($value$plusargs("weights=%s", path)) load_weights;
    end
`endif
    if (drain_en) begin
      /* verilator unroll_full */
      for (s = 0; s < S; s = s + 1)
        if (s < drain_pieces) begin
          /* verilator unroll_full */
          for (h = 0; h < H; h = h + 1) begin
            n = h + drain_rot < H ? h + drain_rot : h + drain_rot - H;
            value = 0;
            if (drain_col + s < B) value = acc[drain_bank * H + n][drain_col + s];
            value = $signed(value[ACC-1:0]);
            if (drain_add) value = value + chain_in[(s * H + h) * 32 +: 32];
            q_next[(s * H + h) * 32 +: 32] = value;
          end
        end
      q <= q_next;
    end

    if (pass_en && pass_plane == LAST) begin
      /* verilator unroll_disable */
      for (h = 0; h < H; h = h + 1)
        if (pass_mask[h]) begin
          n = acc_bank * H + h;
          /* verilator unroll_disable */
          for (c = 0; c < B; c = c + 1) sum[c] = pass_clear ? 0 : acc[n][c];
          used = @USED@;
          /* verilator unroll_disable */
          for (g = 0; g < G; g = g + 1)
            if (used[g]) begin
              slice = row[pass_bank * G + g];
              /* verilator unroll_full */
              for (e = 0; e < B; e = e + 1) x[e] = $signed(slice[e * AB +: AB]);
              /* verilator unroll_disable */
              for (e = 0; e < B; e = e + 1) begin
                // (w ^ HALF) - HALF is the signed weight, in vector instructions that sign extension would not get
                /* verilator unroll_disable */
                for (c = 0; c < B; c = c + 1)
                  sum[c] = sum[c] + x[e] * ((weight[(h * G + g) * B + e][c] ^ HALF) - HALF);
              end
            end
          /* verilator unroll_disable */
          for (c = 0; c < B; c = c + 1) acc[n][c] = sum[c];
        end
    end

    // @each fill port@
    if (|fill@K@_valid) begin
      /* verilator unroll_full */
      for (s = 0; s < S; s = s + 1)
        if (fill@K@_valid[s]) begin
          n = fill_bank * G + fill@K@_group[s * GW +: GW];
          if (&fill@K@_mask[s * B +: B]) row[n] = fill@K@_data[s * B * AB +: B * AB];
          else begin
            slice = row[n];
            /* verilator unroll_full */
            for (e = 0; e < B; e = e + 1)
              if (fill@K@_mask[s * B + e]) slice[e * AB +: AB] = fill@K@_data[(s * B + e) * AB +: AB];
            row[n] = slice;
          end
        end
    end
    // @end@

    if (w_en) begin
      n = w_group * G * B + w_row;
      /* verilator unroll_full */
      for (c = 0; c < B; c = c + 1) weight[n][c] = w_data[c * WB +: WB];
    end
  end
  /* verilator lint_on BLKSEQ */
  /* verilator lint_on WIDTH */
endmodule
/* verilator lint_on UNUSEDSIGNAL */
