// Requantisation of all lanes of a drain (rtl/spec/numeric.py): y = clamp(((sum + bias) * mult + half) >> shift).
// Two register stages: en1 takes sums and constants, en2 (one cycle later) makes the word. raw1 passes sum + bias
// on; raw2 then puts part `sub2` of the lanes on the word as int32.
// One process with loops over lanes: small, and idle at no cost in simulation.
module blockcim_requantise #(
  parameter LANES = 8,
  parameter ACT = 8,  // bits of an activation
  parameter SUB = 2   // bits of sub2
) (
  input wire clk,
  input wire en1,
  input wire raw1,
  input wire [LANES*32-1:0] sums,
  input wire [LANES*64-1:0] constants,
  input wire en2,
  input wire raw2,
  input wire [SUB-1:0] sub2,
  output reg [LANES*ACT-1:0] word
);
  /* verilator lint_off BLKSEQ */
  localparam RAW = 32 / ACT;       // activations that an int32 takes
  localparam SHARE = LANES / RAW;  // lanes of one raw word
  localparam signed [49:0] HIGH = (1 << (ACT - 1)) - 1;
  localparam signed [49:0] LOW = -(1 << (ACT - 1));

  (* mem2reg *) reg signed [49:0] product [0:LANES-1];
  (* mem2reg *) reg [4:0] shift [0:LANES-1];
  (* mem2reg *) reg [ACT-1:0] value [0:LANES-1];
  reg signed [31:0] total;
  reg signed [49:0] rounded;
  reg [LANES*ACT-1:0] next;
  reg [31:0] i;

  initial begin
    word = 0;
    for (i = 0; i < LANES; i = i + 1) begin
      product[i] = 0;
      shift[i] = 0;
    end
  end

  always @(posedge clk) begin
    next = 0;
    if (en2) begin
      if (raw2) begin
        /* verilator unroll_full */
        for (i = 0; i < SHARE; i = i + 1) next[i*32+:32] = product[sub2*SHARE+i][31:0];
      end else begin
        /* verilator unroll_disable */
        for (i = 0; i < LANES; i = i + 1) begin
          rounded = (product[i] + ((50'sd1 << shift[i]) >>> 1)) >>> shift[i];
          value[i] = (rounded > HIGH) ? HIGH[ACT-1:0] : (rounded < LOW) ? LOW[ACT-1:0] : rounded[ACT-1:0];
        end
        /* verilator unroll_full */
        for (i = 0; i < LANES; i = i + 1) next[i*ACT+:ACT] = value[i];
      end
      word <= next;
    end
    if (en1) begin
      /* verilator unroll_full */
      for (i = 0; i < LANES; i = i + 1) begin
        total = sums[i*32+:32] + constants[i*64+:32];
        if (raw1) product[i] = total;
        else product[i] = total * $signed({1'b0, constants[i*64+32+:16]});
        shift[i] = constants[i*64+48+:5];
      end
    end
  end
  /* verilator lint_on BLKSEQ */
endmodule
