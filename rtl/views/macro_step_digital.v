  task pass_step(input [H-1:0] mask, input [@SELECT_BITS@-1:0] select, input [31:0] row_offset, input clear,
                 input rows, input bank);
    /* verilator no_inline_task */
    begin
      /* verilator unroll_disable */
      for (h = 0; h < H; h = h + 1)
        if (mask[h]) begin
          /* verilator unroll_disable */
          for (c = 0; c < B; c = c + 1) sum[c] = clear ? 0 : acc[bank * H + h][c];
          used = @USED@;
          /* verilator unroll_disable */
          for (g = 0; g < G; g = g + 1)
            if (used[g]) begin
              slice = row[rows * G + g];
              /* verilator unroll_full */
              for (e = 0; e < B; e = e + 1) x[e] = $signed(slice[e * AB +: AB]);
              /* verilator unroll_disable */
              for (e = 0; e < B; e = e + ROWS) begin
                n = (h * G + g) * B + e;
                // (w ^ HALF) - HALF is the signed weight, in vector instructions that sign extension would not get
                /* verilator unroll_disable */
                for (c = 0; c < B; c = c + 1)
                  sum[c] = sum[c]
                  // @each rows@
                    + x[e + @K@] * ((weight[n + @K@][c] ^ HALF) - HALF)
                  // @end@
                  ;
              end
            end
          /* verilator unroll_disable */
          for (c = 0; c < B; c = c + 1) acc[bank * H + h][c] = sum[c];
        end
    end
  endtask
