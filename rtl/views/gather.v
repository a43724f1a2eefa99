// Gathers the lanes of a drain step from the partial sums of all tiles: lanes[i] is sums[index[i]], or 0.
// One register stage. Kept out of the Amaranth netlist, whose checks walk every bit pair of so wide a select.
module blockcim_gather #(
  parameter SIZE = 32,    // bits of a lane chunk
  parameter SOURCES = 4,  // chunks in sums
  parameter CHUNKS = 4,   // lane chunks
  parameter INDEX = 2     // bits of an index
) (
  input wire clk,
  input wire en,
  input wire [SOURCES*SIZE-1:0] sums,
  input wire [CHUNKS-1:0] used,
  input wire [CHUNKS*INDEX-1:0] index,
  output reg [CHUNKS*SIZE-1:0] lanes
);
  initial lanes = 0;

  genvar i;
  generate
    for (i = 0; i < CHUNKS; i = i + 1) begin : chunk
      always @(posedge clk)
        if (en) lanes[i*SIZE+:SIZE] <= used[i] ? sums[index[i*INDEX+:INDEX]*SIZE+:SIZE] : {SIZE{1'b0}};
    end
  endgenerate
endmodule
