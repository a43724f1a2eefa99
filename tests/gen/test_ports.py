"""The Verilog reader: both declaration styles, noise, and which modules are on top."""

from gen.ports import Port, modules, tops

ANSI = """
// module comment(input wire no);
module chip #(parameter W = 4) (
  input wire clk, rst,
  input wire signed [7:0] a, b,   /* output no2; */
  output reg [W-1:0] q,
  output wire [8-1:0] r
);
  (* keep *) wire x;
  initial $display("module fake(input y); endmodule");
  always @(*) begin end
  function [3:0] f;
    input [3:0] local_input;
    f = local_input;
  endfunction
  core #(.A((1)), .B(2)) c0 (.clk(clk));
  \\core.inner c1 (.clk(clk));
endmodule
"""

BODY_STYLE = """
module core(clk, \\q.x , d);
  input clk;
  wire clk;
  output [31:0] \\q.x ;
  reg [31:0] \\q.x ;
  inout d;
endmodule
module \\core.inner (clk);
  input clk;
endmodule
"""


def test_ansi_ports():
    assert modules([ANSI])["chip"].ports == (
        Port("clk", "input", 1),
        Port("rst", "input", 1),
        Port("a", "input", 8),
        Port("b", "input", 8),
        Port("q", "output", "W-1:0"),
        Port("r", "output", 8),
    )


def test_ports_declared_in_the_body():
    assert modules([BODY_STYLE])["core"].ports == (
        Port("clk", "input", 1),
        Port("\\q.x", "output", 32),
        Port("d", "inout", 1),
    )


def test_tops_across_files():
    found = modules([ANSI, BODY_STYLE])
    assert set(found) == {"chip", "core", "\\core.inner"}
    assert found["chip"].instances == {"core", "\\core.inner"}
    assert [m.name for m in tops([BODY_STYLE, ANSI])] == ["chip"]


def test_mentioning_a_name_is_no_instance():
    text = "module a(input b); wire c = b; endmodule\nmodule b(input x); endmodule"
    assert [m.name for m in tops([text])] == ["a", "b"]


def test_no_modules():
    assert tops(["// nothing"]) == [] == tops([])
