// Behavioural view of the CIM macro: same ports and same cycles as the structural view, written to simulate fast.
// Plain Verilog-2001. A template (rtl/template.py) that rtl/macro.py fills in.
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
  // Tasks that are not inlined use the state above; nothing else does, so Verilator cannot order them wrongly.
  /* verilator lint_off IMPURE */
  localparam G = @G@;        // row groups
  localparam H = @H@;        // column groups
  localparam B = @B@;        // granule
  localparam S = @S@;        // slots of a fill or a drain
  localparam AB = @ACT_BITS@;
  localparam WB = @WEIGHT_BITS@;
  localparam ACC = @ACC_BITS@;
  localparam GW = @GROUP_BITS@;  // bits of a row group number
  localparam ROWS = @ROWS@;  // rows of a granule that one walk over its columns takes
  localparam LAST = @PLANES@ - 1;
  localparam [31:0] HALF = 1 << (WB - 1);

  reg [WB-1:0] weight [0:@ROWS_DEPTH@-1][0:@COL_DEPTH@-1];        // [(h * G + g) * B + e][c]
  reg [B*AB-1:0] row [0:@SLICES_DEPTH@-1];                        // [bank * G + g]
  reg signed [31:0] acc [0:@GROUPS_DEPTH@-1][0:@COL_DEPTH@-1];    // [bank * H + h][c], of which ACC bits count
  reg signed [31:0] sums [0:@SUMS_DEPTH@-1];                      // [piece * H + h], always equal to q
  reg [S*H*32-1:0] q_next;

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
    /* verilator unroll_disable */
    for (n = 0; n < S * H; n = n + 1) sums[n] = 0;
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
  task load_weights(input [31:0] number);
    /* verilator no_inline_task */
    begin
      file = $fopen(path, "rb");
      if (file == 0) $finish;
      got = $fseek(file, number * G * B * H * B, 0);
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

  // The work of a cycle is in tasks that see nothing but their arguments and the state above: Verilator then shares
  // their code between all macros of a core, and the code of a cycle stays in the instruction cache.

  task drain_step(input [31:0] column, input [31:0] pieces, input bank, input [31:0] rot, input add,
                  input [S*H*32-1:0] chain);
    /* verilator no_inline_task */
    begin
      /* verilator unroll_disable */
      for (s = 0; s < S; s = s + 1)
        if (s < pieces) begin
          n = rot;
          /* verilator unroll_disable */
          for (h = 0; h < H; h = h + 1) begin
            value = 0;
            if (column + s < B) value = acc[bank * H + n][column + s];
            sums[s * H + h] = $signed(value[ACC-1:0]);
            n = (n == H - 1) ? 0 : n + 1;
          end
        end
      if (add) begin
        /* verilator unroll_full */
        for (n = 0; n < S * H; n = n + 1)
          if (n < pieces * H) sums[n] = sums[n] + chain[n * 32 +: 32];
      end
      /* verilator unroll_full */
      for (n = 0; n < S * H; n = n + 1) q_next[n * 32 +: 32] = sums[n];
    end
  endtask

@STEP@
  task fill_step(input bank, input [S-1:0] valid, input [S*GW-1:0] group, input [S*B-1:0] mask,
                 input [S*B*AB-1:0] elements);
    /* verilator no_inline_task */
    begin
      /* verilator unroll_full */
      for (s = 0; s < S; s = s + 1)
        if (valid[s]) begin
          n = bank * G + group[s * GW +: GW];
          if (&mask[s * B +: B]) row[n] = elements[s * B * AB +: B * AB];
          else begin
            slice = row[n];
            /* verilator unroll_full */
            for (e = 0; e < B; e = e + 1)
              if (mask[s * B + e]) slice[e * AB +: AB] = elements[(s * B + e) * AB +: AB];
            row[n] = slice;
          end
        end
    end
  endtask

  task write_step(input [31:0] group, input [31:0] at, input [B*WB-1:0] weights);
    /* verilator no_inline_task */
    begin
      n = group * G * B + at;
      /* verilator unroll_full */
      for (c = 0; c < B; c = c + 1) weight[n][c] = weights[c * WB +: WB];
    end
  endtask

  always @(posedge clk) begin
`ifndef SYNTHESIS
    if (!loaded) begin
      loaded = 1;
      if ($value$plusargs("weights=%s", path)) load_weights(id);
    end
`endif
    if (drain_en) begin
      drain_step(drain_col, drain_pieces, drain_bank, drain_rot, drain_add, chain_in);
      q <= q_next;
    end
    if (@STEP_ENDS@) 
      pass_step(pass_mask, @SELECT@, @OFFSET@, pass_clear, pass_bank, acc_bank);
    // @each fills@
    if (|fill@K@_valid) fill_step(fill_bank, fill@K@_valid, fill@K@_group, fill@K@_mask, fill@K@_data);
    // @end@
    if (w_en) write_step(w_group, w_row, w_data);
  end
  /* verilator lint_on IMPURE */
  /* verilator lint_on BLKSEQ */
  /* verilator lint_on WIDTH */
endmodule
/* verilator lint_on UNUSEDSIGNAL */
