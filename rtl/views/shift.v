// Shifts a vector by whole elements; combinational. LEFT = 0 shifts right.
module blockcim_shift #(
  parameter IN = 8,      // bits in
  parameter OUT = 8,     // bits out
  parameter UNIT = 8,    // bits of an element
  parameter AMOUNT = 1,  // bits of the amount
  parameter LEFT = 1
) (
  input wire [IN-1:0] data,
  input wire [AMOUNT-1:0] amount,
  output wire [OUT-1:0] shifted
);
  localparam WIDE = IN > OUT ? IN : OUT;
  wire [31:0] bits = amount * UNIT;
  wire [WIDE-1:0] in = data;
  wire [WIDE-1:0] out = (LEFT != 0) ? in << bits : in >> bits;
  assign shifted = out[OUT-1:0];
endmodule
