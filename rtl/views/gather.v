// Gathers the lanes of a drain step from the partial sums of all tiles and adds the bias of each, the low half of its
// constant. One register stage. A template: rtl/template.py.
// It walks over chunks of column groups: `blocks` chunks of a tile, then those of the tile `chain` further on, until
// `span` tiles are behind it; what comes after is 0. A granule of lanes is a slot; after `slots` of them the next piece
// begins, at the first tile again if `restart`, and a step that is not the `first` of its column goes on where the
// last one with `advance` ended.
// Kept out of the Amaranth netlist, whose checks walk every bit pair of so wide a select. A port for each tile, of
// which only those that a step uses are copied: what 20 tiles hold is more than a simulator should touch each cycle.
module blockcim_gather #(
  parameter SIZE = 32,     // bits of a chunk
  parameter PIECE = 1,     // chunks of a piece of a tile
  parameter PIECES = 4,    // pieces of a tile
  parameter SLOTS = 1,     // slots of a step
  parameter CHUNKS = 4,    // chunks of a slot
  parameter TILES = 4,
  parameter COUNT = 3,     // bits of a tile count
  parameter BLOCKS = 1,    // bits of blocks
  parameter SLOT = 1       // bits of slots
) (
  input wire clk,
  input wire en,
  // @each tiles@
  input wire [PIECES*PIECE*SIZE-1:0] sums@K@,
  // @end@
  input wire first,
  input wire advance,
  input wire restart,
  input wire [COUNT-1:0] tile,
  input wire [COUNT-1:0] chain,
  input wire [COUNT-1:0] span,
  input wire [BLOCKS-1:0] blocks,
  input wire [SLOT-1:0] slots,
  input wire [SLOTS*CHUNKS*SIZE*2-1:0] constants,
  output reg [SLOTS*CHUNKS*SIZE-1:0] lanes
);
  /* verilator lint_off BLKSEQ */
  // Loop counters and what is counted with them are 32 bits wide.
  /* verilator lint_off WIDTH */
  (* mem2reg *) reg [PIECES*PIECE*SIZE-1:0] source [0:TILES-1];
  (* mem2reg *) reg [31:0] from [0:SLOTS*CHUNKS-1];  // tile of each chunk
  (* mem2reg *) reg [31:0] at [0:SLOTS*CHUNKS-1];    // index of each chunk in its tile
  reg [SLOTS*CHUNKS-1:0] used;
  reg [TILES-1:0] needed;
  reg [COUNT:0] last_offset;
  reg [BLOCKS-1:0] last_sub;
  reg [31:0] offset, sub, piece, slot, t;
  reg [SLOTS*CHUNKS*SIZE-1:0] next;
  integer s, c, i;
`ifdef SYNTHESIS
  reg [31:0] total;
`endif

  initial begin
    lanes = 0;
    last_offset = 0;
    last_sub = 0;
    for (i = 0; i < TILES; i = i + 1) source[i] = 0;
  end

  always @(posedge clk)
    if (en) begin
      offset = first ? chain - 1 : last_offset;
      sub = first ? 0 : last_sub;
      piece = 0;
      slot = 0;
      needed = 0;
      /* verilator unroll_disable */
      for (s = 0; s < SLOTS; s = s + 1) begin
        /* verilator unroll_disable */
        for (c = 0; c < CHUNKS; c = c + 1) begin
          i = s * CHUNKS + c;
          t = tile + offset < TILES ? tile + offset : tile + offset - TILES;
          used[i] = offset < span;
          from[i] = used[i] ? t : 0;
          at[i] = used[i] ? piece * PIECE + sub : 0;
          if (used[i]) needed[t] = 1;
          if (sub + 1 == blocks) begin
            sub = 0;
            if (used[i]) offset = offset + chain;
          end else sub = sub + 1;
        end
        slot = slot + 1;
        if (slot == slots) begin
          slot = 0;
          piece = (piece + 1 < PIECES) ? piece + 1 : 0;  // pieces that are not there are masked later
          if (restart) begin
            offset = chain - 1;
            sub = 0;
          end
        end
      end
      if (advance) begin
        last_offset <= offset;
        last_sub <= sub;
      end
`ifdef SYNTHESIS
      needed = ~0;  // what is not needed is not read: no register keeps it
`endif
      // @each tiles@
      if (needed[@K@]) source[@K@] = sums@K@;
      // @end@
`ifdef SYNTHESIS
      // Whether a chunk is used is known last: both sums are made, and one is taken.
      for (i = 0; i < SLOTS * CHUNKS; i = i + 1)
        next[i*SIZE+:SIZE] = source[from[i]][at[i]*SIZE+:SIZE];
      for (i = 0; i < SLOTS * CHUNKS * SIZE / 32; i = i + 1) begin
        total = next[i*32+:32] + constants[i*64+:32];
        lanes[i*32+:32] <= used[i*32/SIZE] ? total : constants[i*64+:32];
      end
`else
      /* verilator unroll_full */
      for (i = 0; i < SLOTS * CHUNKS; i = i + 1)
        next[i*SIZE+:SIZE] = used[i] ? source[from[i]][at[i]*SIZE+:SIZE] : {SIZE{1'b0}};
      /* verilator unroll_full */
      for (i = 0; i < SLOTS * CHUNKS * SIZE / 32; i = i + 1)
        lanes[i*32+:32] <= next[i*32+:32] + constants[i*64+:32];
`endif
    end
  /* verilator lint_on WIDTH */
  /* verilator lint_on BLKSEQ */
endmodule
