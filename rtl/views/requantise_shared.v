// Requantisation of a drain with few or small multipliers (requantise.v says what it computes): `UNITS` lanes at a time,
// each for `DIGITS` cycles, in which the multiplier's digits come one after the other, the highest first. en0 takes the
// constants; en1 is a cycle of multiplication, `turn1` counts them; sums stay as they are until the last one is over; a
// cycle after that the word is made, with lens2. raw0 and sub0 are as raw2 and sub2 would be: what a raw step passes on
// is kept lane by lane.
module blockcim_requantise #(
  parameter LANES = 8,
  parameter UNITS = 1,    // lanes at a time
  parameter DIGITS = 1,   // cycles of a lane
  parameter TURN = 3,     // bits of turn1
  parameter ACT = 8,      // bits of an activation
  parameter GRANULE = 4,  // lanes of a granule
  parameter SUB = 2,      // bits of sub0
  parameter LEN = 3,      // bits of a length
  parameter OFF = 2       // bits of off2
) (
  input wire clk,
  input wire en0,
  input wire raw0,
  input wire [SUB-1:0] sub0,
  input wire [LANES*64-1:0] constants,
  input wire en1,
  input wire [TURN-1:0] turn1,
  input wire [LANES*32-1:0] sums,
  input wire en2,
  input wire [LANES/GRANULE*LEN-1:0] lens2,
  input wire [OFF-1:0] off2,
  output reg [LANES*ACT-1:0] word,
  output reg [LANES*ACT-1:0] moved,
  output reg [LANES-1:0] mask
);
  /* verilator lint_off BLKSEQ */
  // Loop counters are 32 bits wide.
  /* verilator lint_off WIDTH */
  localparam SHARE = LANES * ACT / 32;  // lanes of one raw word
  localparam DIGIT = 16 / DIGITS;       // bits of a digit

  reg [LANES*16-1:0] mults;
  reg [LANES*5-1:0] shifts;   // one less than the constants say, which are at least 1
  reg [UNITS*50-1:0] product;
  reg [UNITS*5-1:0] shift;
  reg raw1, raw2, busy2;
  reg [SUB-1:0] sub1, sub2;
  reg [TURN-1:0] turn2;
  reg [LANES*ACT-1:0] kept, next;
  reg [OFF-1:0] off;
  reg [2*GRANULE-1:0] ones;
  integer s;
  reg [31:0] i, lane;

  wire [UNITS*50-1:0] products;
  wire [UNITS*ACT-1:0] clamped;
  wire [31:0] turn = turn1 / DIGITS;     // lanes that multiply
  wire [31:0] digit = turn1 % DIGITS;    // which of their digits, the highest is 0
  genvar u;
  generate
    for (u = 0; u < UNITS; u = u + 1) begin : unit
      wire [31:0] sum = sums[(turn*UNITS+u)*32+:32];
      wire [15:0] mult = mults[(turn*UNITS+u)*16+:16];
      if (DIGITS == 1) begin : whole
        blockcim_product multiply (.sum(sum), .mult(mult), .product(products[u*50+:50]));
      end else begin : digits
        wire signed [DIGIT:0] part = {1'b0, mult[(DIGITS-1-digit)*DIGIT+:DIGIT]};
        wire signed [49:0] above = (digit == 0) ? 50'd0 : product[u*50+:50] << DIGIT;
        assign products[u*50+:50] = above + $signed(sum) * part;
      end
      blockcim_round #(.ACT(ACT)) round (
        .product(product[u*50+:50]), .shift(shift[u*5+:5]), .value(clamped[u*ACT+:ACT])
      );
    end
  endgenerate

  initial begin
    word = 0;
    mask = 0;
    off = 0;
    kept = 0;
    mults = 0;
    shifts = 0;
    product = 0;
    shift = 0;
    {raw1, raw2, busy2} = 0;
    sub1 = 0;
    sub2 = 0;
    turn2 = 0;
  end

  always @* begin
    moved = word;
    s = 0;
    /* verilator unroll_full */
    if (off != 0)
      for (s = 0; s < LANES / GRANULE; s = s + 1)
        moved[s*GRANULE*ACT+:GRANULE*ACT] = word[s*GRANULE*ACT+:GRANULE*ACT] << (off * ACT);
  end

  always @(posedge clk) begin
    next = kept;
    if (busy2) begin
      if (raw2) begin
        for (i = 0; i < SHARE; i = i + 1) begin
          lane = sub2 * SHARE + i;
          if (lane / UNITS == turn2) next[i*32+:32] = product[lane%UNITS*50+:32];
        end
      end else next[turn2*UNITS*ACT+:UNITS*ACT] = clamped;
      kept <= next;
    end
    if (en2) begin
      word <= next;
      off <= off2;
      for (i = 0; i < LANES / GRANULE; i = i + 1) begin
        ones = ((1 << lens2[i*LEN+:LEN]) - 1) << off2;
        mask[i*GRANULE+:GRANULE] <= ones[GRANULE-1:0];
      end
    end
    busy2 <= en1 && digit == DIGITS - 1;
    if (en1) begin
      product <= products;
      shift <= shifts[turn*UNITS*5+:UNITS*5];
      turn2 <= turn[TURN-1:0];
      raw2 <= raw1;
      sub2 <= sub1;
    end
    if (en0) begin
      raw1 <= raw0;
      sub1 <= sub0;
      for (i = 0; i < LANES; i = i + 1) begin
        mults[i*16+:16] <= raw0 ? 16'd1 : constants[i*64+32+:16];
        shifts[i*5+:5] <= constants[i*64+48+:5] - 1;
      end
    end
  end
  /* verilator lint_on WIDTH */
  /* verilator lint_on BLKSEQ */
endmodule
