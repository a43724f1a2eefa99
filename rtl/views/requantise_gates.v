// The arithmetic of a lane of requantisation as gates that are few and fast.

// int32 times 16 bits unsigned, by two unsigned products of 16 bits, which fit the multipliers of small FPGAs, and one
// adder: the upper half of the sum is taken as unsigned too, which is 2^16 too much where it is negative.
module blockcim_product (
  input wire [31:0] sum,
  input wire [15:0] mult,
  output wire [49:0] product
);
  wire [31:0] low = sum[15:0] * mult;
  wire [31:0] high = sum[31:16] * mult;
  wire [17:0] excess = sum[31] ? -{2'b0, mult} : 18'd0;
  assign product = {{2'b0, high} + {excess, low[31:16]}, low[15:0]};
endmodule

// clamp(((product >> shift) + 1) >> 1). Of the shifted product only ACT + 1 bits are made; bits that fall off above them
// must all equal the sign, else the value is beyond the range.
module blockcim_round #(
  parameter ACT = 8
) (
  input wire [49:0] product,
  input wire [4:0] shift,
  output reg [ACT-1:0] value
);
  wire sign = product[49];
  reg [ACT+31:0] left;
  reg [31:0] above;
  reg [ACT:0] up;
  reg beyond;
  integer k;

  always @* begin
    left = product[ACT+31:0];
    beyond = product[49:ACT+32] != {18-ACT{sign}};
    for (k = 4; k >= 0; k = k - 1) begin
      // 2^(k+1) - 1 places can still be needed above the lowest ACT + 1, half of them if this bit does not shift.
      above = ((left >> (ACT + (1 << k))) ^ {32{sign}}) & ((1 << (1 << k)) - 1);
      if (shift[k]) left = left >> (1 << k);
      else beyond = beyond | (above != 0);
    end
    beyond = beyond | (left[ACT] != sign);
    up = left[ACT:0] + 1;
    if (!sign && (beyond || up[ACT])) value = {1'b0, {ACT-1{1'b1}}};
    else if (sign && beyond) value = {1'b1, {ACT-1{1'b0}}};
    else value = up[ACT:1];
  end
endmodule
