// Gathers the lanes of a drain step from the partial sums of all tiles: chunk i of `lanes` is chunk index[i] of tile
// tile[i], or 0 where used[i] is low. One register stage. A template: rtl/template.py.
// Kept out of the Amaranth netlist, whose checks walk every bit pair of so wide a select. A port for each tile, of
// which only those that a step uses are copied: what 20 tiles hold is more than a simulator should touch each cycle.
module blockcim_gather #(
  parameter SIZE = 32,    // bits of a chunk
  parameter SUMS = 4,     // chunks of a tile
  parameter CHUNKS = 4,   // chunks of a step
  parameter TILE = 1,     // bits of a tile number
  parameter INDEX = 2     // bits of an index
) (
  input wire clk,
  input wire en,
  // @each tiles@
  input wire [SUMS*SIZE-1:0] sums@K@,
  // @end@
  input wire [CHUNKS-1:0] used,
  input wire [CHUNKS*TILE-1:0] tile,
  input wire [CHUNKS*INDEX-1:0] index,
  output reg [CHUNKS*SIZE-1:0] lanes
);
  /* verilator lint_off BLKSEQ */
  localparam TILES = 1 << TILE;
  (* mem2reg *) reg [SUMS*SIZE-1:0] source [0:TILES-1];
  reg [TILES-1:0] needed;
  reg [CHUNKS*SIZE-1:0] next;
  integer i;

  initial begin
    lanes = 0;
    for (i = 0; i < TILES; i = i + 1) source[i] = 0;
  end

  always @(posedge clk)
    if (en) begin
      needed = 0;
      /* verilator unroll_full */
      for (i = 0; i < CHUNKS; i = i + 1) if (used[i]) needed[tile[i*TILE+:TILE]] = 1;
`ifdef SYNTHESIS
      needed = ~0;  // what is not needed is not read: no register keeps it
`endif
      // @each tiles@
      if (needed[@K@]) source[@K@] = sums@K@;
      // @end@
      /* verilator unroll_full */
      for (i = 0; i < CHUNKS; i = i + 1)
        next[i*SIZE+:SIZE] = used[i] ? source[tile[i*TILE+:TILE]][index[i*INDEX+:INDEX]*SIZE+:SIZE] : {SIZE{1'b0}};
      lanes <= next;
    end
  /* verilator lint_on BLKSEQ */
endmodule
