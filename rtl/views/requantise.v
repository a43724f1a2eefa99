// Requantisation of all lanes of a drain (rtl/spec/numeric.py): y = clamp((sum * mult + half) >> shift), the bias being in
// the sum already. en0 takes the constants; a cycle later en1 takes the sums and multiplies; a cycle later en2 makes the
// word. raw0 passes the sum on; raw2 then puts part `sub2` of the lanes on the word as int32. `moved` has each granule of
// lanes moved up by `off2` lanes (what leaves it is lost), and `mask` the first lens2[s] of them, moved likewise.
// One process with loops over lanes: small, idle at no cost in simulation, and the loops over arrays become vector
// instructions, for which the sums are 64 bits wide there: 50 hold every value (rtl/spec/numeric.py). Synthesis takes
// the same function as gates that are few and fast: blockcim_product, blockcim_round.
module blockcim_requantise #(
  parameter LANES = 8,
  parameter ACT = 8,      // bits of an activation
  parameter GRANULE = 4,  // lanes of a granule
  parameter SUB = 2,      // bits of sub2
  parameter LEN = 3,      // bits of a length
  parameter OFF = 2       // bits of off2
) (
  input wire clk,
  input wire en0,
  input wire raw0,
  input wire [LANES*64-1:0] constants,
  input wire en1,
  input wire [LANES*32-1:0] sums,
  input wire en2,
  input wire raw2,
  input wire [SUB-1:0] sub2,
  input wire [LANES/GRANULE*LEN-1:0] lens2,
  input wire [OFF-1:0] off2,
  output reg [LANES*ACT-1:0] word,
  output reg [LANES*ACT-1:0] moved,
  output reg [LANES-1:0] mask
);
  /* verilator lint_off BLKSEQ */
  localparam RAW = 32 / ACT;       // activations that an int32 takes
  localparam SHARE = LANES / RAW;  // lanes of one raw word
`ifdef SYNTHESIS
  localparam WIDE = 50;
`else
  localparam WIDE = 64;
`endif
  localparam signed [WIDE-1:0] HIGH = (1 << (ACT - 1)) - 1;
  localparam signed [WIDE-1:0] LOW = -(1 << (ACT - 1));
  localparam [WIDE-1:0] SIGN = {1'b1, {WIDE-1{1'b0}}};

  (* mem2reg *) reg signed [31:0] total [0:LANES-1];
  (* mem2reg *) reg signed [16:0] mult [0:LANES-1];
  (* mem2reg *) reg [31:0] shift1 [0:LANES-1];  // one less than the constant says, which is at least 1
  (* mem2reg *) reg [31:0] shift [0:LANES-1];
  (* mem2reg *) reg [WIDE-1:0] product [0:LANES-1];
  (* mem2reg *) reg [WIDE-1:0] rounded [0:LANES-1];
  reg [LANES*ACT-1:0] next;
  reg [OFF-1:0] off;
  reg [2*GRANULE-1:0] ones;
  integer s;
  reg [31:0] i;

  initial begin
    word = 0;
    mask = 0;
    off = 0;
    for (i = 0; i < LANES; i = i + 1) begin
      product[i] = 0;
      shift[i] = 0;
      shift1[i] = 0;
      mult[i] = 0;
    end
  end

`ifdef SYNTHESIS
  wire [LANES*WIDE-1:0] products;
  wire [LANES*ACT-1:0] clamped;
  genvar l;
  generate
    for (l = 0; l < LANES; l = l + 1) begin : lane
      blockcim_product multiply (
        .sum(sums[l*32+:32]), .mult(mult[l][15:0]), .product(products[l*WIDE+:WIDE])
      );
      blockcim_round #(.ACT(ACT)) round (
        .product(product[l]), .shift(shift[l][4:0]), .value(clamped[l*ACT+:ACT])
      );
    end
  endgenerate
`endif

  always @* begin
    moved = word;
    s = 0;
    /* verilator unroll_full */
    if (off != 0)
      for (s = 0; s < LANES / GRANULE; s = s + 1)
        moved[s*GRANULE*ACT+:GRANULE*ACT] = word[s*GRANULE*ACT+:GRANULE*ACT] << (off * ACT);
  end

  always @(posedge clk) begin
    if (en2) begin
      if (raw2) begin
        next = 0;
        /* verilator unroll_full */
        for (i = 0; i < SHARE; i = i + 1) next[i*32+:32] = product[sub2*SHARE+i][31:0];
      end else begin
`ifdef SYNTHESIS
        next = clamped;
`else
        /* verilator unroll_disable */
        for (i = 0; i < LANES; i = i + 1) begin
          // Arithmetic shift by one less (negative values are inverted before and after), plus one, shift by one: round
          // half up. Then the clamp.
          rounded[i] = product[i] ^ {WIDE{product[i][WIDE-1]}};
          rounded[i] = ((rounded[i] >> shift[i][4:0]) ^ {WIDE{product[i][WIDE-1]}}) + 1;
          rounded[i] = (rounded[i] >> 1) | (rounded[i] & SIGN);
          rounded[i] = ($signed(rounded[i]) > HIGH) ? HIGH : ($signed(rounded[i]) < LOW) ? LOW : rounded[i];
        end
        /* verilator unroll_full */
        for (i = 0; i < LANES; i = i + 1) next[i*ACT+:ACT] = rounded[i][ACT-1:0];
`endif
      end
      /* verilator unroll_full */
      for (i = 0; i < LANES / GRANULE; i = i + 1) begin
        ones = ((1 << lens2[i*LEN+:LEN]) - 1) << off2;
        mask[i*GRANULE+:GRANULE] <= ones[GRANULE-1:0];
      end
      word <= next;
      off <= off2;
    end
    if (en1) begin
`ifdef SYNTHESIS
      for (i = 0; i < LANES; i = i + 1) product[i] = products[i*WIDE+:WIDE];
`else
      /* verilator unroll_full */
      for (i = 0; i < LANES; i = i + 1) total[i] = sums[i*32+:32];
      /* verilator unroll_disable */
      for (i = 0; i < LANES; i = i + 1) product[i] = total[i] * mult[i];
`endif
      /* verilator unroll_disable */
      for (i = 0; i < LANES; i = i + 1) shift[i] = shift1[i];
    end
    if (en0) begin
      /* verilator unroll_full */
      for (i = 0; i < LANES; i = i + 1) begin
        mult[i] = raw0 ? 17'sd1 : {1'b0, constants[i*64+32+:16]};
        shift1[i] = constants[i*64+48+:5] - 1;
      end
    end
  end
  /* verilator lint_on BLKSEQ */
endmodule
