// The window of the load unit: two words of elements in a ring, so that a word that arrives moves nothing.
// clear: forget what is there. emit: `cut` takes, for each slot, GRANULE elements from element start[slot] on (what
// is beyond the slot is rubbish). take: the lowest `gone` elements leave. arrive: `data` comes behind the others.
module blockcim_window #(
  parameter LANES = 8,
  parameter ACT = 8,      // bits of an element
  parameter GRANULE = 4,  // elements of a slot
  parameter COUNT = 4     // bits of an element count up to LANES
) (
  input wire clk,
  input wire clear,
  input wire emit,
  input wire [LANES/GRANULE*COUNT-1:0] start,
  input wire take,
  input wire [COUNT-1:0] gone,
  input wire arrive,
  input wire [LANES*ACT-1:0] data,
  output reg [LANES*ACT-1:0] cut
);
  /* verilator lint_off BLKSEQ */
  localparam SLOTS = LANES / GRANULE;
  localparam WORD = LANES * ACT;
  localparam SLOT = GRANULE * ACT;
  localparam [COUNT+1:0] RING = 2 * LANES;

  reg [3*WORD-1:0] kept;   // the ring, its first word repeated at the end: no cut wraps
  reg [COUNT:0] head;      // element that leaves first
  reg side;                // word of the ring that arrives next
  reg [COUNT+1:0] next;
  reg [WORD-1:0] slots;
`ifdef SYNTHESIS
  reg [2*WORD-1:0] turned;
`endif
  integer s;

  initial begin
    kept = 0;
    slots = 0;
    cut = 0;
    head = 0;
    side = 0;
  end

  always @(posedge clk) begin
    if (emit) begin
`ifdef SYNTHESIS
      // The ring is turned in powers of two, of which logic takes the part that a slot sees.
      turned = kept[2*WORD-1:0];
      for (s = COUNT; s >= 0; s = s - 1)
        if (head[s]) turned = {turned, turned} >> ((1 << s) % (2 * LANES) * ACT);
      for (s = 0; s < SLOTS; s = s + 1)
        slots[s*SLOT+:SLOT] = turned[start[s*COUNT+:COUNT]*ACT+:SLOT];
`else
      /* verilator unroll_full */
      for (s = 0; s < SLOTS; s = s + 1)
        slots[s*SLOT+:SLOT] = kept[({1'b0, head}+{2'b0, start[s*COUNT+:COUNT]})*ACT+:SLOT];
`endif
      cut <= slots;
    end
    if (take) begin
      next = {1'b0, head} + {2'b0, gone};
      if (next >= RING) next = next - RING;
      head <= next[COUNT:0];
    end
    if (arrive) begin
      if (side) kept[WORD+:WORD] = data;
      else begin
        kept[0+:WORD] = data;
        kept[2*WORD+:WORD] = data;
      end
      side <= ~side;
    end
    if (clear) begin
      head <= 0;
      side <= 0;
    end
  end
  /* verilator lint_on BLKSEQ */
endmodule
