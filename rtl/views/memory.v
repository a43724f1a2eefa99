// A synchronous memory: WRITES write ports and READS read ports. A word has PARTS
// parts, each with its own write enable; all take the same data.
// Read data comes one cycle after r_en and holds. What a read of a word gives in the cycle that the word is written is
// not used by anyone (no_rw_check: a synthesis tool need not build logic around its block RAM for it).
// Starts as zeros. An ASIC flow puts its own RAM in the place of this module.
module blockcim_memory #(
  parameter WIDTH = 8,
  parameter DEPTH = 16,
  parameter ADDR = 4,
  parameter WRITES = 1,
  parameter READS = 1,
  parameter PARTS = 1
) (
  input wire clk,
  input wire [WRITES*PARTS-1:0] w_en,
  input wire [WRITES*ADDR-1:0] w_addr,
  input wire [WRITES*WIDTH/PARTS-1:0] w_data,
  input wire [READS-1:0] r_en,
  input wire [READS*ADDR-1:0] r_addr,
  output reg [READS*WIDTH-1:0] r_data
);
  localparam PART = WIDTH / PARTS;
  (* no_rw_check *) reg [WIDTH-1:0] mem [0:DEPTH-1];

  integer i;
  initial begin
    for (i = 0; i < DEPTH; i = i + 1) mem[i] = 0;
`ifndef SYNTHESIS
    r_data = 0;  // nobody looks before the first read; a block RAM would need a gate a bit for it
`endif
  end

  genvar w, p, r;
  generate
    for (w = 0; w < WRITES; w = w + 1) begin : write
      for (p = 0; p < PARTS; p = p + 1) begin : part
        always @(posedge clk)
          if (w_en[w*PARTS+p])
            mem[w_addr[w*ADDR+:ADDR]][p*PART+:PART] <= w_data[w*PART+:PART];
      end
    end
    for (r = 0; r < READS; r = r + 1) begin : read
      always @(posedge clk) if (r_en[r]) r_data[r*WIDTH+:WIDTH] <= mem[r_addr[r*ADDR+:ADDR]];
    end
  endgenerate
endmodule
