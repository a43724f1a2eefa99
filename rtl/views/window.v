// The window of the load unit: two words of elements, of which the lowest leave and to which a word is added.
// emit: `cut` takes, for each slot, GRANULE elements from element start[slot] on (what is beyond the slot is
// rubbish). take: the lowest `gone` elements leave. arrive: `data` is put at element `rest`.
module blockcim_window #(
  parameter LANES = 8,
  parameter ACT = 8,      // bits of an element
  parameter GRANULE = 4,  // elements of a slot
  parameter COUNT = 4     // bits of an element count up to LANES
) (
  input wire clk,
  input wire emit,
  input wire [LANES/GRANULE*COUNT-1:0] start,
  input wire take,
  input wire [COUNT-1:0] gone,
  input wire arrive,
  input wire [COUNT-1:0] rest,
  input wire [LANES*ACT-1:0] data,
  output reg [LANES*ACT-1:0] cut
);
  /* verilator lint_off BLKSEQ */
  localparam SLOTS = LANES / GRANULE;
  localparam WORD = LANES * ACT;
  localparam SLOT = GRANULE * ACT;

  reg [2*WORD-1:0] kept;
  reg [WORD-1:0] next;
  integer s;

  initial begin
    kept = 0;
    next = 0;
    cut = 0;
  end

  always @(posedge clk) begin
    if (emit) begin
      /* verilator unroll_full */
      for (s = 0; s < SLOTS; s = s + 1) next[s*SLOT+:SLOT] = kept[start[s*COUNT+:COUNT]*ACT+:SLOT];
      cut <= next;
    end
    if (take) kept = kept >> (gone * ACT);
    if (arrive) kept[rest*ACT+:WORD] = data;
  end
  /* verilator lint_on BLKSEQ */
endmodule
