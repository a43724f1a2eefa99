// Packs the elements of drain steps densely into buffer words; rtl/packer.py says what the ports mean.
// Every slot is put whole where the elements before it end; the next one overwrites what was too much. Synthesis chooses
// element by element: the number of elements, which is known last, then passes the fewest gates.
module blockcim_packer #(
  parameter LANES = 8,
  parameter ACT = 8,      // bits of an element
  parameter GRANULE = 4,  // elements of a slot
  parameter LEN = 3,      // bits of the length of a slot
  parameter COUNT = 4     // bits of an element count up to LANES
) (
  input wire clk,
  input wire clear,
  input wire valid,
  input wire last,
  input wire keep,
  input wire [LANES/GRANULE*LEN-1:0] lens,
  input wire [LANES*ACT-1:0] elements,
  output reg write,
  output reg [LANES*ACT-1:0] word
);
  localparam SLOTS = LANES / GRANULE;
  localparam WORD = LANES * ACT;
  localparam SLOT = GRANULE * ACT;

  reg [WORD-1:0] rest;
  reg [COUNT:0] count, fill;
  reg [2*WORD+SLOT-1:0] line;
  reg full;
`ifdef SYNTHESIS
  reg [2*WORD+SLOT-1:0] moved;
  integer e;
`endif
  integer s;

  initial begin
    rest = 0;
    count = 0;
  end

  always @* begin
    s = 0;
    line = 0;
    fill = count;
    full = 0;
`ifdef SYNTHESIS
    moved = 0;
    e = 0;
`endif
    if (valid) begin
      line[WORD-1:0] = rest;
      /* verilator unroll_full */
      for (s = 0; s < SLOTS; s = s + 1) begin
`ifdef SYNTHESIS
        moved = {{2*WORD{1'b0}}, elements[s*SLOT+:SLOT]} << (fill * ACT);
        for (e = 0; e < 2 * LANES + GRANULE; e = e + 1)
          if (e >= fill) line[e*ACT+:ACT] = moved[e*ACT+:ACT];
`else
        line[fill*ACT+:SLOT] = elements[s*SLOT+:SLOT];
`endif
        fill = fill + {{COUNT+1-LEN{1'b0}}, lens[s*LEN+:LEN]};
      end
`ifdef SYNTHESIS
      for (e = 0; e < 2 * LANES + GRANULE; e = e + 1)
        if (e >= fill) line[e*ACT+:ACT] = 0;
`else
      line[fill*ACT+:SLOT] = 0;
`endif
      full = fill >= LANES;
    end
    write = valid && (full || (last && !keep && fill != 0));
    word = line[WORD-1:0];
  end

  always @(posedge clk)
    if (clear) begin
      rest <= 0;
      count <= 0;
    end else if (valid) begin
      if (last && !keep) begin
        rest <= 0;
        count <= 0;
      end else if (full) begin
        rest <= line[2*WORD-1:WORD];
        count <= fill - LANES;
      end else begin
        rest <= line[WORD-1:0];
        count <= fill;
      end
    end
endmodule
