  // A read of the analog array: each pair of bit planes is summed, converted and added at its place. Rows that are on
  // are on for all columns; `used` are those that the column group has weights in, and set the range of its converters.
  reg [31:0] count [0:@COL_DEPTH@-1];
  reg [31:0] i, w, shift, code;
  reg [G-1:0] on;
  localparam [31:0] TOP = (1 << @ADC_BITS@) - 1;

  task pass_step(input [H-1:0] mask, input [@SELECT_BITS@-1:0] select, input [31:0] row_offset, input clear,
                 input rows, input bank);
    /* verilator no_inline_task */
    begin
      on = 0;
      /* verilator unroll_disable */
      for (h = 0; h < H; h = h + 1)
        if (mask[h]) on = on | (@USED@);
      /* verilator unroll_disable */
      for (h = 0; h < H; h = h + 1)
        if (mask[h]) begin
          used = @USED@;
          n = 1;  // the sums that the range has to tell apart: 0 to all rows
          /* verilator unroll_disable */
          for (g = 0; g < G; g = g + 1) if (used[g]) n = n + B;
          shift = 0;
          /* verilator unroll_disable */
          for (g = 0; g < 12; g = g + 1) if ((1 << (g + @ADC_BITS@)) < n) shift = g + 1;
          /* verilator unroll_disable */
          for (c = 0; c < B; c = c + 1) sum[c] = clear ? 0 : acc[bank * H + h][c];
          /* verilator unroll_disable */
          for (i = 0; i < AB; i = i + 1) begin  // not without begin: to Verilator, the next comment is a statement
            /* verilator unroll_disable */
            for (w = 0; w < WB; w = w + 1) begin
              /* verilator unroll_disable */
              for (c = 0; c < B; c = c + 1) count[c] = 0;
              /* verilator unroll_disable */
              for (g = 0; g < G; g = g + 1)
                if (on[g]) begin
                  slice = row[rows * G + g];
                  /* verilator unroll_full */
                  for (e = 0; e < B; e = e + 1) x[e] = slice[e * AB +: AB];
                  /* verilator unroll_disable */
                  for (e = 0; e < B; e = e + 1)
                    if (x[e][i]) begin
                      n = (h * G + g) * B + e;
                      /* verilator unroll_disable */
                      for (c = 0; c < B; c = c + 1) count[c] = count[c] + ((weight[n][c] >> w) & 1);
                    end
                end
              /* verilator unroll_disable */
              for (c = 0; c < B; c = c + 1) begin
                code = count[c] >> shift;
                if (code > TOP) code = TOP;
                code = code << shift << i << w;
                if ((i == AB - 1) != (w == WB - 1)) sum[c] = sum[c] - code;
                else sum[c] = sum[c] + code;
              end
            end
          end
          /* verilator unroll_disable */
          for (c = 0; c < B; c = c + 1) acc[bank * H + h][c] = sum[c];
        end
    end
  endtask
